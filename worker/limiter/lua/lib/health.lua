-- uses: pauses
-- The health of the account: outages, refused keys, and the fraction of calls that succeed.

local PATIENCE = 3 -- consecutive failed calls that make an outage
local HEALTH_WEIGHT = 0.1 -- weight of the newest call in the moving average of successes
local HEALTHY = 0.7 -- average from which a call that keeps failing may fail because of its ids

-- A call failed, and not because of its ids. Only failed probes raise the level of an outage: calls that were in flight
-- when it began say nothing new.
local function note_trouble(kind, reason, is_probe, now)
  local account = KEY.account
  local streak = redis.call('HINCRBY', account, 'trouble_streak', 1)
  local level = tonumber(redis.call('HGET', account, 'trouble_level') or 0)
  redis.call('HSETNX', account, 'trouble_since', now)
  if level == 0 and kind == 'trouble' and streak < PATIENCE then return end
  if level > 0 and not is_probe then return end
  level = math.min(level + 1, 20)
  redis.call('HSET', account, 'trouble', reason, 'trouble_kind', kind, 'trouble_level', level)
  redis.call('HSET', account, 'trouble_until', now + trouble_delay(level, now))
end

-- A deletion succeeded, which ends any outage.
local function note_success(account, now)
  redis.call('HSET', KEY.account, 'last_success', now)
  account[3], account[5] = 0, now
  if account[4] then
    redis.call('HDEL', KEY.account, 'trouble', 'trouble_kind', 'trouble_streak', 'trouble_level', 'trouble_until',
      'trouble_since')
  end
end

-- Update the moving average of successes.
local function note_health(account, went_well)
  local before = tonumber(account[6] or 1)
  account[6] = before + HEALTH_WEIGHT * ((went_well and 1 or 0) - before)
  redis.call('HSET', KEY.account, 'health', account[6])
end

-- {ms for which the endpoint is paused, ms since the account's last success or -1, '1' if most calls succeed}
local function describe_health(endpoint, account, throttled_until, now)
  local left = pause_left(endpoint, account, throttled_until, now)
  local since = account[5] and now - tonumber(account[5]) or -1
  return {left, since, tonumber(account[6] or 1) >= HEALTHY and '1' or '0'}
end
