-- uses: base
-- Take finished requests whose results nobody has published in time; nobody else takes them for a while.
--
-- KEYS  1 prefix
-- ARGV  1 how many at most   2 for how long, ms
-- Returns their ids.
local now = now_ms()
local requests = redis.call('ZRANGEBYSCORE', KEY.outbox, '-inf', now, 'LIMIT', 0, ARGV[1])
for _, request in ipairs(requests) do redis.call('ZADD', KEY.outbox, now + ARGV[2], request) end
return requests
