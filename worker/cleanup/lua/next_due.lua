-- uses: base
-- Return a run that needs a worker now: a new one, one whose wait is over, or one whose worker died.
--
-- KEYS  1 prefix
-- ARGV  1 {hand_out_ms: how long a returned run is not returned again}
-- Returns its id, or nil.
local args = cjson.decode(ARGV[1])
local now = now_ms()
local run = redis.call('ZRANGEBYSCORE', KEY['cleanup:runs'], '-inf', now, 'LIMIT', 0, 1)[1]
if run then redis.call('ZADD', KEY['cleanup:runs'], now + args.hand_out_ms, run) end
return run
