-- uses: base
-- Runs that somebody should look after now: new ones, those that waited, and those whose worker died. Each is handed out
-- once in a while, however many ask.
--
-- KEYS  1 prefix
-- ARGV  1 {hand_out_ms: for how long nobody else is sent to a run}
-- Returns their ids.
local args = cjson.decode(ARGV[1])
local now = now_ms()
local runs = redis.call('ZRANGEBYSCORE', KEY['cleanup:runs'], '-inf', now, 'LIMIT', 0, 20)
for _, run in ipairs(runs) do redis.call('ZADD', KEY['cleanup:runs'], now + args.hand_out_ms, run) end
return runs
