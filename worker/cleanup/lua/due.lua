-- uses: base
-- Return up to 20 runs that need a worker now: new ones, those whose wait is over, and those whose worker died.
--
-- KEYS  1 prefix
-- ARGV  1 {hand_out_ms: how long a returned run is not returned again}
-- Returns the run ids.
local args = cjson.decode(ARGV[1])
local now = now_ms()
local runs = redis.call('ZRANGEBYSCORE', KEY['cleanup:runs'], '-inf', now, 'LIMIT', 0, 20)
for _, run in ipairs(runs) do redis.call('ZADD', KEY['cleanup:runs'], now + args.hand_out_ms, run) end
return runs
