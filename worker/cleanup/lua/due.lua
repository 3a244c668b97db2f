-- uses: base
-- Runs that somebody should look after now: new ones, those that waited, and those whose worker died. Each is handed out
-- once in a while, however many ask.
--
-- KEYS  1 prefix
-- ARGV  1 for how long nobody else is sent to a run, ms
-- Returns their ids.
local now = now_ms()
local runs = redis.call('ZRANGEBYSCORE', KEY['cleanup:runs'], '-inf', now, 'LIMIT', 0, 20)
for _, run in ipairs(runs) do redis.call('ZADD', KEY['cleanup:runs'], now + ARGV[1], run) end
return runs
