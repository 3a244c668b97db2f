-- uses: base, webhooks
-- Send a webhook again, or now instead of later, and restart its schedule.
--
-- KEYS  1 prefix
-- ARGV  1 {webhook}
-- Returns queued | sending (a worker sends it now) | unknown
local id, now = cjson.decode(ARGV[1]).webhook, now_ms()
local key = KEY['webhook:'] .. id
local url, token = unpack(redis.call('HMGET', key, 'url', 'token'))
if not url then return 'unknown' end
local due = tonumber(redis.call('ZSCORE', KEY['webhooks:waiting'], id) or 0)
if token and due > now then return 'sending' end
redis.call('ZREM', KEY['webhooks:delivered'], id)
redis.call('ZREM', KEY['webhooks:failed'], id)
redis.call('ZADD', KEY['webhooks:waiting'], now, id)
redis.call('PERSIST', key)
redis.call('HSET', key, 'attempts', 0, 'since', now)
redis.call('HDEL', KEY['webhooks:resting'], receiver_of(url))
return 'queued'
