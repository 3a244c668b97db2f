-- uses: base
-- Write a result where Celery's callers look, and wake those who wait. An early state never hides a final one: it is
-- written only while the request itself is not final.
--
-- KEYS  1 prefix   2 the backend's key of the task
-- ARGV  1 request id   2 value, as the backend encodes it   3 '1' if it is final   4 ttl of a final value, ms
--       5 '1' if with this all is done, so that the request leaves the outbox
-- Returns 1 if it was written.
local state = redis.call('HGET', request_key(ARGV[1]), 'state')
if ARGV[3] ~= '1' then
  if not state or FINAL[state] then return 0 end
  redis.call('SET', KEYS[2], ARGV[2])
else
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[4])
  if ARGV[5] == '1' then redis.call('ZREM', KEY.outbox, ARGV[1]) end
end
redis.call('PUBLISH', KEYS[2], ARGV[2])
return 1
