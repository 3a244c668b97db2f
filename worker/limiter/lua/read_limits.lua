-- uses: base, windows, trouble
-- What the limiter knows of an endpoint. Changes nothing.
--
-- KEYS  1 prefix
-- ARGV  1 JSON object: endpoint, horizon_ms, share, first_margin_ms, windows (see acquire.lua)
-- Returns {ms of pause left, who paused: operator | throttled | trouble | key_refused | '', ms until the next place,
--          places within the horizon (at most 64), margin ms, then for each window: limit, interval ms, calls in it}
local args = cjson.decode(ARGV[1])
local endpoint, horizon, share, first_margin = args.endpoint, args.horizon_ms, args.share, args.first_margin_ms
local log, limits = KEY['calls:'] .. endpoint, KEY['limits:'] .. endpoint
local now = now_ms()
local pause, level, who = pause_left(endpoint, now)
local wait = wait_for_windows(endpoint, now, share, first_margin, args.windows)
local margin = margin_of(limits, first_margin)

local places, windows = 64, {}
for _, window in ipairs(windows_of(endpoint, now, args.windows)) do
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
