-- uses: base
-- The lists of webhooks, and the receivers that rest.

local LONGEST_REST_MS = 60000

-- host:port of a URL, without user and password.
local function receiver_of(url)
  return string.lower(string.match(string.match(url, '^%a+://([^/?]*)'), '[^@]*$'))
end

-- Until when a receiver rests (ms), and the number of its consecutive failures; 0 and 0 if it does not rest.
local function rest_of(receiver)
  local field = redis.call('HGET', KEY['webhooks:resting'], receiver)
  if not field then return 0, 0 end
  local until_ms, fails = split_field(field)
  return tonumber(until_ms), tonumber(fails)
end

local function let_rest(receiver, until_ms, fails)
  redis.call('HSET', KEY['webhooks:resting'], receiver, string.format('%.0f %d', until_ms, fails))
  redis.call('PEXPIRE', KEY['webhooks:resting'], 86400000)
end

local function drop_expired(list, now, keep_ms)
  redis.call('ZREMRANGEBYSCORE', list, '-inf', now - keep_ms)
end

-- Move a webhook to a list, webhooks:delivered or webhooks:failed, and count it. It is kept for `keep_ms`, so that it
-- can be sent again.
local function end_webhook(id, list, now, keep_ms)
  redis.call('ZREM', KEY['webhooks:waiting'], id)
  redis.call('ZREM', KEY['webhooks:failed'], id)
  redis.call('ZADD', KEY[list], now, id)
  drop_expired(KEY[list], now, keep_ms)
  redis.call('PEXPIRE', KEY['webhook:'] .. id, keep_ms)
  redis.call('HINCRBY', KEY.metrics, list, 1)
end
