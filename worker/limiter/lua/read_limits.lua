-- uses: base, windows, trouble
-- What the limiter knows of an endpoint. Changes nothing.
--
-- KEYS  1 prefix
-- ARGV  1 endpoint   2 horizon, ms   3 rate share   4 first margin, ms   5… windows of the settings
-- Returns {ms of pause left, who paused: operator | throttled | trouble | key_refused | '', ms until the next place,
--          places within the horizon (at most 64), margin ms, then for each window: limit, interval ms, calls in it}
local endpoint, horizon, share, first_margin = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local log, limits = KEY['calls:'] .. endpoint, KEY['limits:'] .. endpoint
local now = now_ms()
local pause, level, who = pause_left(endpoint, now)
local wait = wait_for_windows(endpoint, now, share, first_margin, ARGV, 5)
local margin = margin_of(limits, first_margin)

local places, windows = 64, {}
for _, window in ipairs(windows_of(endpoint, now, ARGV, 5)) do
  local allowed = math.max(1, math.floor(window[1] * share))
  local recent = redis.call('ZCOUNT', log, '(' .. now + horizon - window[2] - margin, '+inf')
  local apart = 1 + math.floor(horizon / spacing_of(allowed, window[2]))
  places = math.min(places, apart, math.max(0, allowed - recent))
  windows[#windows + 1] = window[1]
  windows[#windows + 1] = window[2]
  windows[#windows + 1] = redis.call('ZCOUNT', log, '(' .. now - window[2], now)
end
if level > 0 then places = math.min(places, 1) end
if pause > horizon then places = 0 end
return {pause, who or '', math.max(0, wait), places, tostring(margin), unpack(windows)}
