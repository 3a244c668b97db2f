-- uses: base, lines
-- Count the work that is due now, after letting requests into line whose hold has ended or whose retries are due.
--
-- KEYS  1 prefix
-- ARGV  1 {enough: count no further than this}
-- Returns {ids that a claim could take now, groups that are due}
-- Every worker asks 25 times a second, so the answer of an empty queue takes one command.
if redis.call('EXISTS', KEY.sources, KEY.retries, KEY.holds, KEY.leases) == 0 then return {0, 0} end

local now = now_ms()
promote_due(now)
local claimable = count_claimable(now, cjson.decode(ARGV[1]).enough)
return {claimable, redis.call('ZCOUNT', KEY.leases, '-inf', now)}
