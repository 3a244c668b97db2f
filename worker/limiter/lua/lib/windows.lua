-- uses: base
-- The windows of a rate limit, and how long they make a call wait.

local LEARNED_MS = 24 * 3600 * 1000 -- a learned window is believed for a day
local MARGIN_LEAST = 8 -- ms by which a window is taken to be longer than it is: at least …
local MARGIN_MOST = 250 -- … and at most
local SPREAD = 0.8 -- of a window's even spacing, by which calls keep apart even when there is room …
local SPREAD_MOST_MS = 20 -- … but no further than this

local function margin_of(limits, first)
  return tonumber(redis.call('HGET', limits, 'margin') or first)
end

-- Every window that holds: those in `args` from `first` on, and the learned ones. A list of {limit, interval}.
local function windows_of(endpoint, now, args, first)
  local windows = {}
  for i = first, #args, 2 do windows[#windows + 1] = {tonumber(args[i]), tonumber(args[i + 1])} end
  local known = redis.call('HGETALL', KEY['limits:'] .. endpoint)
  for i = 1, #known, 2 do
    if string.sub(known[i], 1, 7) == 'window:' then
      local limit, at = split_field(known[i + 1])
      if tonumber(at) > now - LEARNED_MS then
        windows[#windows + 1] = {tonumber(limit), tonumber(string.sub(known[i], 8))}
      end
    end
  end
  return windows
end

-- How far calls under this window keep apart, ms. A burst would come back at every turn of the window, with all workers
-- waking at once; spread out, there is always a next slot in sight.
local function spacing_of(allowed, interval)
  return math.min(SPREAD_MOST_MS, SPREAD * interval / allowed)
end

-- ms until all windows have room for one more call, and the longest window, ms. A window with a share of n calls has
-- room once the n-th last call is older than the window and the margin.
local function wait_for_windows(endpoint, now, share, first_margin, args, first)
  local log, wait, longest, spacing = KEY['calls:'] .. endpoint, 0, 0, 0
  local margin = margin_of(KEY['limits:'] .. endpoint, first_margin)
  for _, window in ipairs(windows_of(endpoint, now, args, first)) do
    local allowed = math.max(1, math.floor(window[1] * share))
    local before = redis.call('ZREVRANGE', log, allowed - 1, allowed - 1, 'WITHSCORES')[2]
    if before then wait = math.max(wait, math.ceil(tonumber(before) + window[2] + margin - now)) end
    longest = math.max(longest, window[2])
    spacing = math.max(spacing, spacing_of(allowed, window[2]))
  end
  local last = redis.call('ZREVRANGE', log, 0, 0, 'WITHSCORES')[2]
  if last then wait = math.max(wait, math.ceil(tonumber(last) + spacing - now)) end
  return wait, longest
end
