-- uses: base
-- Write a result where Celery's callers look, and wake those who wait. An early state never hides a final one: it is
-- written only while the request itself is not final.
--
-- KEYS  1 prefix
-- ARGV  1 {request, is_final, ttl_ms: of a final result, is_last: all is done with this, so the request leaves the outbox,
--          forget: lists of the request that go with its hash, since the result tells all; nothing to keep them}
--       2 result, as Celery's callers read it
-- Returns 1 if it was written.
local args = cjson.decode(ARGV[1])
local result_key = RESULT .. args.request
if args.is_final then
  redis.call('SET', result_key, ARGV[2], 'PX', args.ttl_ms)
  if args.forget then
    redis.call('DEL', request_key(args.request))
    for _, part in ipairs(args.forget) do redis.call('DEL', request_key(args.request, part)) end
  end
  if args.is_last then redis.call('ZREM', KEY.outbox, args.request) end
else
  local state = redis.call('HGET', request_key(args.request), 'state')
  if not state or FINAL[state] then return 0 end
  redis.call('SET', result_key, ARGV[2])
end
redis.call('PUBLISH', result_key, ARGV[2])
return 1
