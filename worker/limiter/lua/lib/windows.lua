-- The windows of a limit: how many calls they leave room for, and when the next may go.

local LEARNED_MS = 24 * 3600 * 1000 -- a learned window is believed for a day
local MARGIN_FIRST = 15 -- ms by which a window is taken to be longer than it is, before responses have taught better …
local MARGIN_LEAST = 8 -- … at least …
local MARGIN_MOST = 250 -- … and at most
local SPREAD = 0.8 -- of a window's even spacing, by which calls keep apart even when there is room …
local SPREAD_MOST_MS = 20 -- … but no further than this

-- What is known of an endpoint's limits: margin, throttled_until and one field for each learned window.
local function limits_of(endpoint)
  local flat, limits = redis.call('HGETALL', KEY['limits:'] .. endpoint), {}
  for i = 1, #flat, 2 do limits[flat[i]] = flat[i + 1] end
  return limits
end

local function margin_of(limits)
  return tonumber(limits.margin or MARGIN_FIRST)
end

-- Every window that holds, each {calls, interval in ms}: those of the settings, to which the learned ones are added.
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

-- How many calls of a window are ours.
local function allowed_in(window, share)
  return math.max(1, math.floor(window[1] * share))
end

-- How far calls under this window keep apart, ms. A burst would come back at every turn of the window, with all workers
-- waking at once; spread out, there is always a next slot in sight.
local function spacing_of(allowed, interval)
  return math.min(SPREAD_MOST_MS, SPREAD * interval / allowed)
end

-- ms until all windows have room for one more call, and the longest window, ms. A window with a share of n calls has
-- room once the n-th last call is older than the window and the margin.
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
