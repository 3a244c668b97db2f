-- uses: base, audit, known
-- Reject a request that waits for approval; the caller cancels it afterwards.
--
-- KEYS  1 prefix
-- ARGV  1 {request, by: who rejects, reason: why, in words}
-- Returns rejected | not_held (it does not wait for approval) | unknown
local args = cjson.decode(ARGV[1])
local request, by = args.request, args.by
local key = request_key(request)
local now = now_ms()

local about = redis.call('HMGET', key, 'state', 'source', 'total', 'run', 'rejected_by')
if not about[1] then return told_result(request) and 'not_held' or 'unknown' end
if about[5] then return 'rejected' end
if not redis.call('ZSCORE', KEY.approvals, request) then return 'not_held' end

redis.call('HSET', key, 'rejected_by', by, 'rejected_at', now)
if about[4] then
  local run_key = KEY['cleanup:'] .. 'run:' .. about[4]
  if redis.call('EXISTS', run_key) == 1 then
    redis.call('HSET', run_key, 'decision', 'rejected', 'decided_by', by, 'decided_at', now)
  end
end
write_audit('rejected', request, about[2], by, STATE.QUEUED, about[3], {reason = args.reason})
return 'rejected'
