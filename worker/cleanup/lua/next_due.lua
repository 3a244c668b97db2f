-- uses: base
-- The run that a worker should continue now: a new one, one that waited, or one whose worker died. It is handed out once
-- in a while, however many ask.
--
-- KEYS  1 prefix
-- ARGV  1 {hand_out_ms: for how long nobody else is sent to a run}
-- Returns its id, or nil.
local args = cjson.decode(ARGV[1])
local now = now_ms()
local run = redis.call('ZRANGEBYSCORE', KEY['cleanup:runs'], '-inf', now, 'LIMIT', 0, 1)[1]
if run then redis.call('ZADD', KEY['cleanup:runs'], now + args.hand_out_ms, run) end
return run
