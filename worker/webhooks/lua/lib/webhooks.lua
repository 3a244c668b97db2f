-- uses: base
-- How webhooks move among webhooks:waiting, webhooks:delivered and webhooks:failed, and which receivers rest.

local LONGEST_REST_MS = 60000

-- host:port of a URL, without user and password.
local function receiver_of(url)
  return string.lower(string.match(string.match(url, '^%a+://([^/?]*)'), '[^@]*$'))
end

-- Until when a receiver rests, and how often it has failed in a row; 0 and 0 when it does not.
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

-- A webhook ends in one of the lists webhooks:delivered and webhooks:failed. It is kept for a while, to be sent again.
local function end_webhook(id, list, now, keep_ms)
  redis.call('ZREM', KEY['webhooks:waiting'], id)
  redis.call('ZREM', KEY['webhooks:failed'], id)
  redis.call('ZADD', list, now, id)
  redis.call('ZREMRANGEBYSCORE', list, '-inf', now - keep_ms)
  redis.call('PEXPIRE', KEY['webhook:'] .. id, keep_ms)
end
