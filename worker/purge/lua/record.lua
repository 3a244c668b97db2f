-- uses: base
-- Record what came of a call, if the token still has the purge.
--
-- KEYS  1 prefix
-- ARGV  1 {purge, token, state, sent_as: the API's id of it, '' for none, attempts, polls, delay_ms: until its next
--          call, error: '' for none, paid: whether its last call is known not to have been carried out, so that the
--          next one is not counted}
-- Returns 1 if it was recorded, else 0.
local args, now = cjson.decode(ARGV[1]), now_ms()
local key = KEY['purge:'] .. args.purge
local about = redis.call('HMGET', key, 'token', 'state')
if about[1] ~= args.token then return 0 end
redis.call('HSET', key, 'state', args.state, 'sent_as', args.sent_as, 'attempts', args.attempts, 'polls', args.polls,
  'error', args.error, 'paid', args.paid and 1 or 0)
if args.state == PURGE.SENT and about[2] ~= args.state then redis.call('HSET', key, 'sent_at', now) end
redis.call('HDEL', key, 'token')
redis.call('ZADD', KEY['purges:open'], now + args.delay_ms, args.purge)
return 1
