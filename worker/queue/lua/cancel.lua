-- uses: base, audit, lines, claims, requests, known
-- Cancel the waiting items of a request: ids not yet claimed, retries and parked items. Items in flight are settled,
-- and are cancelled instead of returning to the queue. An unsealed request is deleted.
--
-- KEYS  1 prefix
-- ARGV  1 {request, by: who cancels, omitted to leave no line in the audit trail, result_ttl_ms, outbox_delay_ms}
-- Returns {state after the call, number of items it cancelled}; {} when the request is unknown.
local args = cjson.decode(ARGV[1])
local request, key = args.request, request_key(args.request)
local now = now_ms()
local cancelled = 0

local state = known_request(request)
if not state then return {} end
if FINAL[state] then return {state, 0} end
if state == STATE.OPEN then
  for _, field in ipairs(redis.call('HKEYS', key)) do
    local stream = string.match(field, '^stream(:.*)$')
    if stream then
      redis.call('UNLINK', request_key(request, 'incoming') .. stream, request_key(request, 'seen') .. stream,
        request_key(request, 'purge') .. stream)
    end
  end
  redis.call('UNLINK', key, request_key(request, 'waiting'), request_key(request, 'seen'),
    request_key(request, 'purge'))
  return {STATE.REVOKED, 0}
end
local source = redis.call('HGET', key, 'source')
redis.call('HSETNX', key, 'revoked', now)
if args.by then
  write_audit('cancelled', request, source, args.by, STATE.REVOKED, redis.call('HGET', key, 'total'), {})
end

local function end_one(id, attempts, doubt)
  local remark = doubt == DOUBT.NONE and '' or REMARK_DOUBTFUL
  end_items(request, OUTCOME.CANCELLED, attempts, remark, {id}, KEY.waiting, now)
  cancelled = cancelled + 1
end

local function leave_hold()
  if redis.call('ZREM', KEY.holds, request) + redis.call('ZREM', KEY.approvals, request) > 0 then
    end_hold(request, source)
  end
end

local function cancel_waiting()
  local n = withdraw_waiting(request)
  if n == 0 then return end
  redis.call('HINCRBY', key, OUTCOME.CANCELLED, n)
  redis.call('HINCRBY', KEY.totals, OUTCOME.CANCELLED, n)
  count(KEY.waiting, source, -n)
  cancelled = cancelled + n
end

local function cancel_retries()
  local tried = redis.call('HGETALL', request_key(request, 'tried'))
  for i = 1, #tried, 2 do
    local attempts, doubt = split_field(tried[i + 1])
    end_one(tried[i], attempts, doubt)
  end
  count(KEY.retrying, source, -#tried / 2)
  redis.call('DEL', request_key(request, 'tried'), request_key(request, 'retries'))
end

local function cancel_parked()
  for _, token in ipairs(redis.call('SMEMBERS', KEY.parked)) do
    local items, others = read_items(KEY['lease:'] .. token), {}
    for _, item in ipairs(items) do
      if item[1] == request then
        redis.call('HDEL', KEY.leased, item[2])
        end_one(item[2], item[3], item[4])
      else
        others[#others + 1] = item
      end
    end
    if #others < #items then leave_items(token, others) end
  end
end

leave_hold()
cancel_waiting()
cancel_retries()
cancel_parked()
redis.call('ZREM', KEY.lookups, request)
redis.call('ZREM', KEY.retries, request)
redis.call('ZREM', line_key(source), request)
-- It leaves `fresh` once it is the first there: looking for it would take long.
if not has_line(source) then redis.call('ZREM', KEY.sources, source) end
redis.call('HSETNX', key, 'withdrawn_at', now)
local is_final = finish(request, now, args.result_ttl_ms, args.outbox_delay_ms)
write_ends()
return {is_final and redis.call('HGET', key, 'state') or STATE.PROGRESS, cancelled}
