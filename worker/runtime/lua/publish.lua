-- uses: base
-- Write a result to Celery's result backend and wake those who wait for it. An earlier state never replaces a final
-- one.
--
-- KEYS  1 prefix   2 result key of the request
-- ARGV  1 {request, is_final, ttl_ms: of a final result, is_last: nothing else is to be published, so the request
--          leaves the outbox}
--       2 result, encoded by the backend
-- Returns 1 if it was written, else 0.
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
