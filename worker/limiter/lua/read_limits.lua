-- uses: base, windows, pauses
-- Read the limits of an endpoint. Changes nothing.
--
-- KEYS  1 prefix
-- ARGV  1 {endpoint, horizon_ms, share: our fraction of each window, windows: configured, [[calls, interval ms]…]}
-- Returns {ms of pause left, slots within the horizon (at most 64), margin ms,
--          then for each window: limit, interval ms, calls in it}
local args = cjson.decode(ARGV[1])
local endpoint, horizon = args.endpoint, args.horizon_ms
local log, limits = KEY['calls:'] .. endpoint, limits_of(endpoint)
local now = now_ms()
local pause, level = pause_left(endpoint, read_account(), limits.throttled_until, now)
local margin = margin_of(limits)

local slots, uses = 64, {}
for _, window in ipairs(windows_of(limits, args.windows, now)) do
  local allowed = allowed_in(window, args.share)
  local recent = redis.call('ZCOUNT', log, '(' .. now + horizon - window[2] - margin, '+inf')
  local apart = 1 + math.floor(horizon / spacing_of(allowed, window[2]))
  slots = math.min(slots, apart, math.max(0, allowed - recent))
  uses[#uses + 1] = window[1]
  uses[#uses + 1] = window[2]
  uses[#uses + 1] = redis.call('ZCOUNT', log, '(' .. now - window[2], now)
end
if level > 0 then slots = math.min(slots, 1) end
if pause > horizon then slots = 0 end
return {pause, slots, tostring(margin), unpack(uses)}
