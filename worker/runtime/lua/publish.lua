-- uses: base
-- Write a result where Celery's callers look, and wake those who wait. An early state never hides a final one: it is
-- written only while the request itself is not final.
--
-- KEYS  1 prefix   2 the backend's key of the task
-- ARGV  1 {request, is_final, ttl_ms: of a final result, is_last: all is done with this, so the request leaves the outbox}
--       2 result, as the backend encodes it
-- Returns 1 if it was written.
local args = cjson.decode(ARGV[1])
if args.is_final then
  redis.call('SET', KEYS[2], ARGV[2], 'PX', args.ttl_ms)
  if args.is_last then redis.call('ZREM', KEY.outbox, args.request) end
else
  local state = redis.call('HGET', request_key(args.request), 'state')
  if not state or FINAL[state] then return 0 end
  redis.call('SET', KEYS[2], ARGV[2])
end
redis.call('PUBLISH', KEYS[2], ARGV[2])
return 1
