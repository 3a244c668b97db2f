-- uses: base
-- Write a result to Celery's result backend and wake those who wait for it. An earlier state never replaces a final
-- one.
--
-- KEYS  1 prefix
-- ARGV  1 {request, is_final, ttl_ms: of a final result, is_last: nothing else is to be published, so the request
--          leaves the outbox, forget: outcomes whose lists are deleted with the hash, since the result contains all;
--          omitted to keep them}
--       2 result, encoded
-- Returns 1 if it was written, else 0.
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
