-- uses: base
-- Take finished requests whose results were not published in time.
--
-- KEYS  1 prefix
-- ARGV  1 {most: number of requests, take_for_ms: how long no other worker takes them}
-- Returns the request ids.
local args = cjson.decode(ARGV[1])
local now = now_ms()
local requests = redis.call('ZRANGEBYSCORE', KEY.outbox, '-inf', now, 'LIMIT', 0, args.most)
for _, request in ipairs(requests) do redis.call('ZADD', KEY.outbox, now + args.take_for_ms, request) end
return requests
