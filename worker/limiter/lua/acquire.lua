-- uses: base, windows, pauses
-- Request a slot, the permission for one call to an endpoint. It is granted now, reserved within the horizon, or
-- refused. A sliding log of calls is checked against every window, configured or learned from the API. While the API
-- fails or refuses the key, only single probes are granted.
--
-- KEYS  1 prefix
-- ARGV  1 {endpoint, call_id, horizon_ms: longest wait for which a slot is reserved, share: our fraction of each
--          window, windows: configured, [[calls, interval ms]…]}
-- Returns {ms: 0 or more is a slot to be used after that wait, -n means none, ask again in n ms, '1' if it is a probe}
local args = cjson.decode(ARGV[1])
local endpoint, call = args.endpoint, args.call_id
local log = KEY['calls:'] .. endpoint
local now = now_ms()

local mine = redis.call('ZSCORE', log, call)
if mine then return {math.max(0, tonumber(mine) - now), '0'} end

local limits = limits_of(endpoint)
local pause, outage_level = pause_left(endpoint, read_account(), limits.throttled_until, now)
if pause > 0 then return {-pause, '0'} end

local windows = windows_of(limits, args.windows, now)
local wait, longest = wait_for_windows(endpoint, windows, args.share, margin_of(limits), now)
if wait > args.horizon_ms then return {-wait, '0'} end

redis.call('ZADD', log, now + wait, call)
redis.call('ZREMRANGEBYSCORE', log, '-inf', now - longest - 1000)
redis.call('PEXPIRE', log, longest + 60000)
if outage_level > 0 then
  -- The next probe waits its full delay, even if this one is never made.
  redis.call('HSET', KEY.account, 'trouble_until', now + trouble_delay(outage_level, now))
  return {wait, '1'}
end
return {wait, '0'}
