-- uses: base, audit, lines, guards, known
-- Approve a request that a guard stopped. Its undo window, if any, runs from the time it was enqueued.
--
-- KEYS  1 prefix
-- ARGV  1 {request, by: who approves, allow_own: whether that may be the requester, reason: why, in words}
-- Returns approved | rejected (before this call) | not_held (it does not wait for approval) | own (the requester may
--         not approve) | unknown
local args = cjson.decode(ARGV[1])
local request, by = args.request, args.by
local key = request_key(request)
local now = now_ms()

local about = redis.call('HMGET', key, 'state', 'source', 'total', 'sequence', 'hold_until', 'run', 'approved_by',
  'rejected_by', 'origin', 'lookup')
local source, total, run = about[2], tonumber(about[3]), about[6]
if not about[1] then return told_result(request) and 'not_held' or 'unknown' end
if about[8] then return 'rejected' end
if about[7] == by then return 'approved' end
if not redis.call('ZSCORE', KEY.approvals, request) then return 'not_held' end
if about[9] == by and not args.allow_own then return 'own' end

redis.call('ZREM', KEY.approvals, request)
redis.call('HSET', key, 'approved_by', by, 'approved_at', now)
if tonumber(about[5] or 0) > now then
  redis.call('ZADD', KEY.holds, about[5], request)
else
  end_hold(request, source)
  go_on(request, source, about[4], about[10], now)
end
remember_size(source, total)
if run then
  local run_key = KEY['cleanup:'] .. 'run:' .. run
  local rule = redis.call('HMGET', run_key, 'rule', 'words')
  if rule[1] then
    redis.call('HSET', run_key, 'decision', 'approved', 'decided_by', by, 'decided_at', now)
    redis.call('HSET', KEY['cleanup:'] .. 'rule:' .. rule[1], 'approved', rule[2])
  end
end
write_audit('approved', request, source, by, STATE.QUEUED, total, {reason = args.reason})
return 'approved'
