-- uses: base
-- Whether a request is known. Some finished requests are stored only as their published result
-- (worker/reports/published.py).

-- The result of such a request, or nil, and the digest of its content, if there is one. Other applications and accounts
-- may store results under the same keys.
local function told_result(request)
  local text = redis.call('GET', RESULT .. request)
  if not text or string.sub(text, 1, 19) ~= '{"status":"SUCCESS"' then return nil end
  local told = cjson.decode(text)
  local is_ours = string.find(KEYS[1], ':' .. (told.account or DEFAULT_ACCOUNT) .. '}', 1, true)
  return is_ours and type(told.result) == 'table' and told.result.request_id == request and told.result or nil,
    told.content
end

-- State and number of ids of a request; nil if it is unknown.
local function known_request(request)
  local about = redis.call('HMGET', request_key(request), 'state', 'total')
  if about[1] then return about[1], tonumber(about[2] or 0) end
  local told = told_result(request)
  if told then return told.state, told.total end
end
