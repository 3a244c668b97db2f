-- The windows of a rate limit: how many more calls fit, and when the next one does.

local LEARNED_MS = 24 * 3600 * 1000 -- how long a learned window counts
local MARGIN_FIRST = 8 -- initial margin, ms: every window is treated as this much longer than it is
local MARGIN_LEAST = 4
local MARGIN_MOST = 250
local SPREAD = 0.8 -- minimum distance of two calls, as a fraction of even spacing …
local SPREAD_MOST_MS = 20 -- … up to this many ms

-- The fields of an endpoint's limits: margin, throttled_until, one per learned window.
local function limits_of(endpoint)
  local flat, limits = redis.call('HGETALL', KEY['limits:'] .. endpoint), {}
  for i = 1, #flat, 2 do limits[flat[i]] = flat[i + 1] end
  return limits
end

local function margin_of(limits)
  return tonumber(limits.margin or MARGIN_FIRST)
end

-- All windows, each {calls, interval in ms}: the configured ones, to which the learned ones are added.
local function windows_of(limits, windows, now)
  for field, value in pairs(limits) do
    if string.sub(field, 1, 7) == 'window:' then
      local calls, at = string.match(value, '^(%S+) (%S+)$')
      if tonumber(at) > now - LEARNED_MS then
        windows[#windows + 1] = {tonumber(calls), tonumber(string.sub(field, 8))}
      end
    end
  end
  return windows
end

-- Our share of a window, in calls.
local function allowed_in(window, share)
  return math.max(1, math.floor(window[1] * share))
end

-- Minimum distance of two calls under this window, ms. Without it a burst repeats every interval, and all workers wake
-- at once.
local function spacing_of(allowed, interval)
  return math.min(SPREAD_MOST_MS, SPREAD * interval / allowed)
end

-- ms until all windows have room for one more call, and the longest interval, ms. A window that allows n calls has room
-- once the n-th last call is older than its interval and the margin.
local function wait_for_windows(endpoint, windows, share, margin, now)
  local log, wait, longest, spacing = KEY['calls:'] .. endpoint, 0, 0, 0
  for _, window in ipairs(windows) do
    local allowed = allowed_in(window, share)
    local before = redis.call('ZREVRANGE', log, allowed - 1, allowed - 1, 'WITHSCORES')[2]
    if before then wait = math.max(wait, math.ceil(tonumber(before) + window[2] + margin - now)) end
    longest = math.max(longest, window[2])
    spacing = math.max(spacing, spacing_of(allowed, window[2]))
  end
  local last = redis.call('ZREVRANGE', log, 0, 0, 'WITHSCORES')[2]
  if last then wait = math.max(wait, math.ceil(tonumber(last) + spacing - now)) end
  return wait, longest
end
