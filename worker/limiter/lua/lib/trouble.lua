-- Pauses of an endpoint: an operator, a throttle, an outage or a refused key.

local PATIENCE = 3 -- failed calls in a row, with no success between them, that make an outage
local OUTAGE_FIRST_MS = 2000
local OUTAGE_MOST_MS = 10000
local KEY_FIRST_MS = 5000
local KEY_MOST_MS = 60000
local HEALTH_WEIGHT = 0.1 -- of the newest call in the share of calls that go well
local HEALTHY = 0.7 -- the share from which on a call that fails again and again may be the fault of its ids

-- How long to wait at this level of trouble: doubling, capped, up to a fifth shorter or longer at random.
local function trouble_delay(level, now)
  local first, most = OUTAGE_FIRST_MS, OUTAGE_MOST_MS
  if redis.call('HGET', KEY.account, 'trouble_kind') == 'key_refused' then first, most = KEY_FIRST_MS, KEY_MOST_MS end
  local delay = math.min(most, first * 2 ^ math.min(level - 1, 20))
  return math.floor(delay * (1 + (now % 41) / 200))
end

-- A call failed for no fault of its ids. Some in a row make an outage; from then on only failed probes deepen it, since
-- what was already in the air when it began says nothing new.
local function note_trouble(kind, reason, probe, now)
  local account = KEY.account
  local streak = redis.call('HINCRBY', account, 'trouble_streak', 1)
  local level = tonumber(redis.call('HGET', account, 'trouble_level') or 0)
  redis.call('HSETNX', account, 'trouble_since', now)
  if level == 0 and kind == 'trouble' and streak < PATIENCE then return end
  if level > 0 and not probe then return end
  level = math.min(level + 1, 20)
  redis.call('HSET', account, 'trouble', reason, 'trouble_kind', kind, 'trouble_level', level)
  redis.call('HSET', account, 'trouble_until', now + trouble_delay(level, now))
end

-- ms for which no call may be made to the endpoint (0: none), why, and the level of trouble. Trouble is that of the
-- deletions: a listing that works says nothing of them, and a key may be allowed the one and not the other.
local function pause_left(endpoint, now)
  local about = redis.call('HMGET', KEY.account, 'paused', 'trouble_until', 'trouble_level', 'trouble_kind')
  local throttled = tonumber(redis.call('HGET', KEY['limits:'] .. endpoint, 'throttled_until') or 0)
  local level = endpoint == 'delete' and tonumber(about[3] or 0) or 0
  local trouble = tonumber(about[2] or 0)
  if about[1] then return 1000, level, 'operator' end
  if level > 0 and trouble > now then return trouble - now, level, about[4] end
  if throttled > now then return throttled - now, level, 'throttled' end
  return 0, level
end

-- Note how a call went that had no more reason to fail than any other.
local function note_health(went_well)
  local before = tonumber(redis.call('HGET', KEY.account, 'health') or 1)
  redis.call('HSET', KEY.account, 'health', before + HEALTH_WEIGHT * ((went_well and 1 or 0) - before))
end

-- {ms for which the endpoint is paused, ms since the last success of the account or -1, '1' if most calls go well}
local function pause_and_success(endpoint, now)
  local left = pause_left(endpoint, now)
  local about = redis.call('HMGET', KEY.account, 'last_success', 'health')
  local healthy = tonumber(about[2] or 1) >= HEALTHY
  return {left, about[1] and now - tonumber(about[1]) or -1, healthy and '1' or '0'}
end
