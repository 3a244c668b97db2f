-- uses: base, audit, requests, purging
-- End a purge, and with it those of its files, in steps: repeat it until no files are left. A request that waits for
-- its purges becomes final with the last of them; one that was final before is published again.
--
-- KEYS  1 prefix
-- ARGV  1 {purge, token, state: how it ended, error: '' for none, most: files in one step, lease_ms, keep_ms: how long
--          the record of a purge is kept, result_ttl_ms, outbox_delay_ms}
-- Returns {1 if files are left else 0, the ids of requests that are final now…}; {0} if the token does not have it.
local args, now = cjson.decode(ARGV[1]), now_ms()
local key, files = KEY['purge:'] .. args.purge, KEY['purge:'] .. 'files:' .. args.purge
if redis.call('HGET', key, 'token') ~= args.token then return {0} end
redis.call('HSET', key, 'state', args.state, 'error', args.error, 'ended_at', now)

local requests, ids_by_request = {}, {}
for _, member in ipairs(redis.call('LPOP', files, args.most) or {}) do
  local file, request = split_field(member)
  if not ids_by_request[request] then
    requests[#requests + 1], ids_by_request[request] = request, {}
  end
  table.insert(ids_by_request[request], file)
end

-- Let files wait for another purge.
local function plan_again(request, ids)
  local about, waiting = redis.call('HMGET', request_key(request), 'priority', 'sequence'), {}
  for _, id in ipairs(ids) do
    waiting[#waiting + 1], waiting[#waiting + 2] = rank_of(about[1], about[2]), id .. ' ' .. request
  end
  in_slices('ZADD', KEY['purges:waiting'], waiting)
end

-- Record the end of the purge of files. Returns whether their request is final now.
local function end_files(request, ids)
  local about, entries = request_key(request), {}
  for i, url in ipairs(in_slices('HMGET', request_key(request, 'purge'), ids)) do
    entries[#entries + 1], entries[#entries + 2] = ids[i], purge_ended(args.state, now, url or '', args.error)
  end
  in_slices('HSET', request_key(request, 'purge'), entries)
  redis.call('HINCRBY', about, args.state, #ids)
  local pending = redis.call('HINCRBY', about, 'purge_pending', -#ids)
  redis.call('ZADD', KEY['purges:changed'], next_number(), request)
  if pending > 0 then return false end
  local known = redis.call('HMGET', about, 'state', 'result_ttl_ms')
  if FINAL[known[1]] then expire(request, known[2] or args.result_ttl_ms) end
  return finish(request, now, args.result_ttl_ms, args.outbox_delay_ms)
end

local reply = {0}
for _, request in ipairs(requests) do
  if redis.call('EXISTS', request_key(request)) == 1 then
    if args.state == PURGE.REFUSED then
      plan_again(request, ids_by_request[request])
    elseif end_files(request, ids_by_request[request]) then
      reply[#reply + 1] = request
    end
  end
end
write_ends()
if args.state == PURGE.REFUSED then
  redis.call('SADD', KEY['purges:refused'], redis.call('HGET', key, 'url'))
  redis.call('PEXPIRE', KEY['purges:refused'], args.keep_ms)
end
if redis.call('EXISTS', files) == 1 then
  redis.call('ZADD', KEY['purges:open'], now + args.lease_ms, args.purge)
  reply[1] = 1
  return reply
end
redis.call('HDEL', key, 'token')
redis.call('ZREM', KEY['purges:open'], args.purge)
redis.call('ZADD', KEY['purges:ended'], now, args.purge)
redis.call('ZREMRANGEBYSCORE', KEY['purges:ended'], '-inf', now - args.keep_ms)
redis.call('PEXPIRE', key, args.keep_ms)
return reply
