-- When nobody may call: an operator's pause, a throttle, an outage or a refused key.

local OUTAGE_FIRST_MS = 2000
local OUTAGE_MOST_MS = 10000
local KEY_FIRST_MS = 5000
local KEY_MOST_MS = 60000

-- How long to wait at this level of trouble: doubling, capped, up to a fifth longer at random.
local function trouble_delay(level, now)
  local first, most = OUTAGE_FIRST_MS, OUTAGE_MOST_MS
  if redis.call('HGET', KEY.account, 'trouble_kind') == 'key_refused' then first, most = KEY_FIRST_MS, KEY_MOST_MS end
  local delay = math.min(most, first * 2 ^ math.min(level - 1, 20))
  return math.floor(delay * (1 + (now % 41) / 200))
end

-- What is known of the account: {paused, trouble_until, trouble_level, trouble_since, last_success, health}
local function read_account()
  return redis.call('HMGET', KEY.account, 'paused', 'trouble_until', 'trouble_level', 'trouble_since', 'last_success', 'health')
end

-- ms for which no call may be made to the endpoint (0: none), and the level of trouble. Trouble is that of the deletions:
-- a listing that works says nothing of them, and a key may be allowed the one and not the other.
local function pause_left(endpoint, account, throttled_until, now)
  local level = endpoint == 'delete' and tonumber(account[3] or 0) or 0
  if account[1] then return 1000, level end
  if level > 0 then
    local left = tonumber(account[2] or 0) - now
    if left > 0 then return left, level end
  end
  return math.max(0, tonumber(throttled_until or 0) - now), level
end
