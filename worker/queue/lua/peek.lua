-- uses: base, lines
-- What there is to do now, changing only what has become due.
--
-- KEYS  1 prefix
-- ARGV  1 {enough: number of ids from which more makes no difference}
-- Returns {ids that a claim could take now, groups that are due}
local now = now_ms()
promote_due(now)
local claimable = count_claimable(now, cjson.decode(ARGV[1]).enough)
return {claimable, redis.call('ZCOUNT', KEY.leases, '-inf', now)}
