-- uses: base
-- Look URLs up again later, after a call that failed or for lack of a slot.
--
-- KEYS  1 prefix
-- ARGV  1 {requests, delay_ms, failed: whether the call failed}
-- Returns nothing.
local args, now = cjson.decode(ARGV[1]), now_ms()
for _, request in ipairs(args.requests) do
  if redis.call('ZSCORE', KEY.lookups, request) then
    redis.call('ZADD', KEY.lookups, now + args.delay_ms, request)
    if args.failed then redis.call('HINCRBY', request_key(request), 'lookup_failures', 1) end
  end
end
