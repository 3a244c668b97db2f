-- uses: base
-- Whether a request is known. Some finished requests are stored only as their published result
-- (worker/reports/published.py).

-- The result stored under a request id, or nil; whether it is one of another account; and the digest of its content, if
-- it has one. Other applications may store results under the same keys.
local function told_result(request)
  local text = redis.call('GET', RESULT .. request)
  if not text or string.sub(text, 1, 11) ~= '{"status":"' then return nil end
  local told = cjson.decode(text)
  if type(told.result) ~= 'table' then return nil end
  local is_final = told.status == STATE.SUCCESS
  local report = told.result.request_id and told.result or told.result.exc_message and told.result.exc_message[1]
  if type(report) ~= 'table' or report.request_id ~= request then return nil end
  if not string.find(PREFIX, ':' .. (told.account or DEFAULT_ACCOUNT) .. '}', 1, true) then return nil, true end
  return is_final and report or nil, false, told.content
end

-- State and number of ids of a request; nil if it is unknown. The third value is whether another account has its id.
local function known_request(request)
  local about = redis.call('HMGET', request_key(request), 'state', 'total')
  if about[1] then return about[1], tonumber(about[2] or 0) end
  local told, is_foreign = told_result(request)
  if told then return told.state, told.total end
  return nil, nil, is_foreign
end
