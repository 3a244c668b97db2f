-- uses: base, lines
-- What there is to do now, changing only what has become due.
--
-- KEYS  1 prefix
-- ARGV  1 number of ids from which more makes no difference
-- Returns {ids that a claim could take now, groups that are due, ms until the next retry, hold or group or -1}
local now = now_ms()
promote_due(now)
local soonest = -1
for _, key in ipairs({KEY.retries, KEY.holds, KEY.leases}) do
  local first = redis.call('ZRANGEBYSCORE', key, '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
  if first then
    local wait = math.max(0, tonumber(first) - now)
    if soonest < 0 or wait < soonest then soonest = wait end
  end
end
return {count_claimable(now, tonumber(ARGV[1])), redis.call('ZCOUNT', KEY.leases, '-inf', now), soonest}
