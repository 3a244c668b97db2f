-- uses: base, quota
-- Take the purge whose next call is due first, under a token and a lease. A call that sends it is counted here, since
-- it may be carried out even if its answer is lost.
--
-- KEYS  1 prefix
-- ARGV  1 {token, lease_ms, month, quota}
-- Returns {id, url, state, the API's id or '', attempts, polls, ms since it was sent or 0, '1' if its call may be made
--         or '0' if the quota is used up, error}; {} when no call is due.
local args, now = cjson.decode(ARGV[1]), now_ms()
local id = redis.call('ZRANGEBYSCORE', KEY['purges:open'], '-inf', now, 'LIMIT', 0, 1)[1]
if not id then return {} end
local key = KEY['purge:'] .. id
local about = redis.call('HMGET', key, 'url', 'state', 'sent_as', 'attempts', 'polls', 'sent_at', 'paid', 'error')
if not about[1] then
  redis.call('ZREM', KEY['purges:open'], id)
  return {}
end
local may_call = true
if about[2] == PURGE.READY then
  may_call = about[7] == '1' or spend(args.month, args.quota)
  redis.call('HSET', key, 'paid', 0)
end
redis.call('HSET', key, 'token', args.token)
redis.call('ZADD', KEY['purges:open'], now + args.lease_ms, id)
return {id, about[1], about[2], about[3] or '', tonumber(about[4] or 0), tonumber(about[5] or 0),
  about[6] and now - about[6] or 0, may_call and '1' or '0', about[8] or ''}
