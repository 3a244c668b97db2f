-- uses: base
-- Take finished requests whose results nobody has published in time; nobody else takes them for a while.
--
-- KEYS  1 prefix
-- ARGV  1 {most: how many, take_for_ms: how long nobody else takes them}
-- Returns their ids.
local args = cjson.decode(ARGV[1])
local now = now_ms()
local requests = redis.call('ZRANGEBYSCORE', KEY.outbox, '-inf', now, 'LIMIT', 0, args.most)
for _, request in ipairs(requests) do redis.call('ZADD', KEY.outbox, now + args.take_for_ms, request) end
return requests
