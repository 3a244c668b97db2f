-- uses: base, windows, trouble
-- Ask for permission for one call to an endpoint. Go now, go in a moment (the place is reserved), or wait.
-- A sliding log of calls is checked against every known window: those of the settings, and those learned from the API.
-- While the API fails or refuses the key, one call at a time goes out as a probe.
--
-- KEYS  1 prefix
-- ARGV  1 endpoint   2 call id   3 longest wait for which a place is reserved, ms   4 rate share
--       5 first margin, ms   6… windows of the settings: limit, interval ms, …
-- Returns {ms to wait: 0 or more is a place taken, to be used then; -n: none, ask again in n ms, '1' if it is a probe}
local endpoint, call, horizon, share = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local log = KEY['calls:'] .. endpoint
local now = now_ms()

local mine = redis.call('ZSCORE', log, call)
if mine then return {math.max(0, tonumber(mine) - now), '0'} end

local pause, outage_level = pause_left(endpoint, now)
if pause > 0 then return {-pause, '0'} end

local wait, longest = wait_for_windows(endpoint, now, share, tonumber(ARGV[5]), ARGV, 6)
if wait > horizon then return {-wait, '0'} end

redis.call('ZADD', log, now + wait, call)
redis.call('ZREMRANGEBYSCORE', log, '-inf', now - longest - 1000)
redis.call('PEXPIRE', log, longest + 60000)
if outage_level > 0 then
  -- The next probe waits its turn whatever becomes of this one.
  redis.call('HSET', KEY.account, 'trouble_until', now + trouble_delay(outage_level, now))
  return {wait, '1'}
end
return {wait, '0'}
