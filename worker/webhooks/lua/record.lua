-- uses: base, webhooks
-- Record the result of an attempt to send a webhook, if the token still has it. A delivery is recorded in any case.
--
-- KEYS  1 prefix
-- ARGV  1 {webhook, token, ending: delivered | failed, omitted if it is due again in delay_ms, status: HTTP status,
--          omitted if there was no response, error: '' for none, fails: whether the receiver as a whole fails,
--          rest_ms: minimum rest of that receiver, keep_ms: how long a delivered or failed webhook is kept}
-- Returns 1 if it was recorded, else 0.
local args, now = cjson.decode(ARGV[1]), now_ms()
local id, key = args.webhook, KEY['webhook:'] .. args.webhook
local url, token = unpack(redis.call('HMGET', key, 'url', 'token'))
local is_delivered = redis.call('ZSCORE', KEY['webhooks:delivered'], id)
if not url or is_delivered or not (token == args.token or args.ending == 'delivered') then return 0 end

redis.call('HDEL', key, 'token', 'status')
redis.call('HINCRBY', key, 'attempts', 1)
redis.call('HSET', key, 'last_at', now, 'error', args.error)
if args.status then redis.call('HSET', key, 'status', args.status) end

local receiver = receiver_of(url)
if args.fails then
  local _, fails = rest_of(receiver)
  let_rest(receiver, now + math.max(args.rest_ms, math.min(LONGEST_REST_MS, 1000 * 2 ^ fails)), fails + 1)
else
  redis.call('HDEL', KEY['webhooks:resting'], receiver)
end
if args.ending then
  end_webhook(id, 'webhooks:' .. args.ending, now, args.keep_ms)
else
  redis.call('ZADD', KEY['webhooks:waiting'], now + args.delay_ms, id)
end
return 1
