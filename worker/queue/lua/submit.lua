-- uses: base, enqueueing
-- Enqueue many requests at once, each with all its ids, for callers that wait for the end of them. A request whose id is
-- known changes nothing, so a repeat joins it; one that ended too long ago to be joined is made anew under another id,
-- and its repeats join that one.
--
-- KEYS  1 prefix
-- ARGV  1 {requests: [{request, source, reason, origin, hold_ms, guard, file_ids, other: the id of a repeat that does not
--          join, content: what tells its content from others, to be kept}…], join_ms: how long ago a request that is
--          joined may have ended, alive_ms: how long ago a worker that counts as alive may have been heard of}
-- Returns, for each request, {state after the call, its id, '1' if it waits for the end of a hold or for approval, why it
--         waits for approval or '', its content or ''}; nothing if no worker is alive: then nothing was enqueued.
local asked, now, replies, tally = cjson.decode(ARGV[1]), now_ms(), {}, new_tally()
if redis.call('ZCOUNT', KEY.workers, now - asked.alive_ms, '+inf') == 0 then return replies end

local function can_be_joined(request)
  local known = redis.call('HMGET', request_key(request), 'state', 'finished_at')
  return known[1] and (not FINAL[known[1]] or tonumber(known[2]) > now - asked.join_ms)
end

-- The id under which a request goes on: that of the request that it joins, or one that is not known.
local function id_of(request)
  local first = request_key(request.request)
  if redis.call('EXISTS', first) == 0 then return request.request end
  local latest = redis.call('HGET', first, 'repeated') or request.request
  if can_be_joined(latest) then return latest end
  redis.call('HSET', first, 'repeated', request.other)
  return request.other
end

local function is_on_hold(request)
  return redis.call('ZSCORE', KEY.holds, request) or redis.call('ZSCORE', KEY.approvals, request)
end

for i, request in ipairs(asked.requests) do
  request.request = id_of(request)
  local state = enqueue_whole(tally, request, request.file_ids, nil, nil, now)[1]
  local known = redis.call('HMGET', request_key(request.request), 'approval', 'content')
  local held = is_on_hold(request.request)
  replies[i] = {state, request.request, held and '1' or '0', held and known[1] or '', known[2] or ''}
end
write_tally(tally)
return replies
