-- uses: base, webhooks
-- Take the webhook that is due first, under a token and a lease: no other worker sends it until the lease expires. A
-- failing receiver rests, and then gets one webhook at a time; its other webhooks wait, and fail when they are too old.
--
-- KEYS  1 prefix
-- ARGV  1 {token, lease_ms, most: webhooks to look at, give_up_ms: age at which a waiting webhook fails,
--          keep_ms: how long a failed webhook is kept}
-- Returns {id, time (ms), url, report, attempts so far}; {} when there is none to send now.
local args, now = cjson.decode(ARGV[1]), now_ms()

local function postpone(id, key, until_ms)
  if now - redis.call('HGET', key, 'since') < args.give_up_ms then
    redis.call('ZADD', KEY['webhooks:waiting'], until_ms, id)
  else
    redis.call('HSET', key, 'error', 'not sent: other webhooks to this receiver fail')
    end_webhook(id, 'webhooks:failed', now, args.keep_ms)
  end
end

local function take(id, key, url, receiver, fails)
  redis.call('ZADD', KEY['webhooks:waiting'], now + args.lease_ms, id)
  redis.call('HSET', key, 'token', args.token)
  if fails > 0 then let_rest(receiver, now + args.lease_ms, fails) end
  local report, attempts = unpack(redis.call('HMGET', key, 'report', 'attempts'))
  return {id, now, url, report, tonumber(attempts)}
end

drop_expired(KEY['webhooks:failed'], now, args.keep_ms) -- they are counted
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEY['webhooks:waiting'], '-inf', now, 'LIMIT', 0, args.most)) do
  local key = KEY['webhook:'] .. id
  local url = redis.call('HGET', key, 'url')
  if url then
    local receiver = receiver_of(url)
    local until_ms, fails = rest_of(receiver)
    if until_ms <= now then return take(id, key, url, receiver, fails) end
    postpone(id, key, until_ms)
  else
    redis.call('ZREM', KEY['webhooks:waiting'], id)
  end
end
return {}
