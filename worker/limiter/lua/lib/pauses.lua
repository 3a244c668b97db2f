-- Pauses: by an operator, a throttle, an outage or a refused key.

local OUTAGE_FIRST_MS = 2000
local OUTAGE_MOST_MS = 10000
local KEY_FIRST_MS = 5000
local KEY_MOST_MS = 60000

-- ms until the next probe at this level of trouble: doubled per level, capped, with up to 20 % of jitter.
local function trouble_delay(level, now)
  local first, most = OUTAGE_FIRST_MS, OUTAGE_MOST_MS
  if redis.call('HGET', KEY.account, 'trouble_kind') == 'key_refused' then first, most = KEY_FIRST_MS, KEY_MOST_MS end
  local delay = math.min(most, first * 2 ^ math.min(level - 1, 20))
  return math.floor(delay * (1 + (now % 41) / 200))
end

-- {paused, trouble_until, trouble_level, trouble_since, last_success, health}
local function read_account()
  return redis.call('HMGET', KEY.account, 'paused', 'trouble_until', 'trouble_level', 'trouble_since', 'last_success',
    'health')
end

-- ms for which the endpoint is paused (0: it is not), and the level of trouble. Trouble applies to deletions only: a
-- key may be allowed to list and not to delete.
local function pause_left(endpoint, account, throttled_until, now)
  local level = endpoint == 'delete' and tonumber(account[3] or 0) or 0
  if account[1] then return 1000, level end
  if level > 0 then
    local left = tonumber(account[2] or 0) - now
    if left > 0 then return left, level end
  end
  return math.max(0, tonumber(throttled_until or 0) - now), level
end
