-- uses: base, audit, webhooks
-- Send a webhook again, or now instead of later, and restart its schedule.
--
-- KEYS  1 prefix
-- ARGV  1 {webhook, by: the operator}
-- Returns queued | sending (a worker sends it now) | unknown
local args, now = cjson.decode(ARGV[1]), now_ms()
local id = args.webhook
local key = KEY['webhook:'] .. id
local url, token, report = unpack(redis.call('HMGET', key, 'url', 'token', 'report'))
if not url then return 'unknown' end
local due = tonumber(redis.call('ZSCORE', KEY['webhooks:waiting'], id) or 0)
if token and due > now then return 'sending' end
redis.call('ZREM', KEY['webhooks:delivered'], id)
redis.call('ZREM', KEY['webhooks:failed'], id)
redis.call('ZADD', KEY['webhooks:waiting'], now, id)
redis.call('PERSIST', key)
redis.call('HSET', key, 'attempts', 0, 'since', now)
redis.call('HDEL', KEY['webhooks:resting'], receiver_of(url))

local of = cjson.decode(report)
write_audit('resent', of.request_id, of.source, args.by, of.state, of.total, {webhook = id})
return 'queued'
