-- Record how items of a claim ended, or put them back. Only what the token still holds changes; but a definite
-- "deleted" counts also when the lease has run out, wherever the item is by then.
--
-- KEYS  1 prefix
-- ARGV  1 token   2 verdict, JSON (below)   3 result ttl, ms   4 patience of the outbox, ms
--       5 how long deleted ids are remembered, ms
-- verdict.ended    [[request, outcome, attempts, error, [file id…], doubt]…]
-- verdict.retried  [[request, attempts, doubt, delay ms, [file id…]]…]      back one by one, an attempt spent
-- verdict.parked   [[new token, delay ms, fails, suspect '0' or '1', doubt, [[request, [file id…]]…]]…]
--                                                                           back as they stand, as a group
-- Returns {number of items recorded or put back, ids of requests that are final now…}
local token, verdict = ARGV[1], cjson.decode(ARGV[2])
local result_ttl, patience, remember = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local lease = KEY['lease:'] .. token
local now = now_ms()
local settled, touched, order, gone, doubtful = 0, {}, {}, {}, {}

local function touch(request)
  if not touched[request] then
    touched[request] = true
    order[#order + 1] = request
  end
end

-- What the token holds and has not been settled yet: request → file → {file, attempts, doubt}.
local items, holding = read_items(lease), {}
for _, item in ipairs(items) do
  local request, file = item[1], item[2]
  holding[request] = holding[request] or {}
  holding[request][file] = {file, item[3], item[4]}
end

local function what_is_left()
  local left = {}
  for _, item in ipairs(items) do
    if holding[item[1]][item[2]] then left[#left + 1] = item end
  end
  return left
end

-- The ids of one request that the token holds, each {file, attempts, doubt}, and those that it does not; they are taken
-- off the lease.
local function take_held(request, ids)
  local here, held, stray = holding[request] or {}, {}, {}
  for _, id in ipairs(ids) do
    if here[id] then
      held[#held + 1] = here[id]
      here[id] = nil
    else
      stray[#stray + 1] = id
    end
  end
  settled = settled + #held
  if #held > 0 then touch(request) end
  return held, stray
end

local function ids_of(held)
  local ids = {}
  for i, item in ipairs(held) do ids[i] = item[1] end
  return ids
end

local function take_from_lease(other, request, id)
  local found, others = false, {}
  for _, item in ipairs(read_items(KEY['lease:'] .. other)) do
    if item[1] == request and item[2] == id then
      found = true
    else
      others[#others + 1] = item
    end
  end
  if found then leave_items(other, others) end
  return found
end

-- A deleted item whose claim was lost: find it where it is now. Returns the counter it leaves, or nil when it has ended.
local function take_stray(request, id)
  local other = redis.call('HGET', KEY.leased, id)
  local flies = other and redis.call('HGET', KEY['lease:'] .. other, 'held') == '1'
  if other and take_from_lease(other, request, id) then
    redis.call('HDEL', KEY.leased, id)
    return flies and KEY.in_flight or KEY.waiting
  end
  if redis.call('ZREM', request_key(request, 'retries'), id) == 1 then
    redis.call('HDEL', request_key(request, 'tried'), id)
    note_next_retry(request)
    return KEY.waiting
  end
end

local function record_strays(request, attempts, stray)
  for _, id in ipairs(stray) do
    local room = take_stray(request, id)
    if room then
      end_items(request, OUTCOME.DELETED, attempts, '', {id}, room, now)
      settled = settled + 1
      touch(request)
    end
  end
end

local function note_doubt(doubt, ids)
  if doubt ~= DOUBT.UNANSWERED then return end
  for _, id in ipairs(ids) do
    doubtful[#doubtful + 1] = id
  end
end

local function record_ended(request, outcome, attempts, error, ids, doubt)
  local held, stray = take_held(request, ids)
  local mine = ids_of(held)
  note_doubt(doubt, mine)
  in_slices('HDEL', KEY.leased, mine)
  end_items(request, outcome, attempts, error, mine, KEY.in_flight, now)
  if outcome == OUTCOME.DELETED then
    record_strays(request, attempts, stray)
    for _, id in ipairs(ids) do gone[#gone + 1] = id end
  end
end

-- Items of a cancelled request do not go back.
local function cancel_instead(request, held, doubt)
  if not redis.call('HGET', request_key(request), 'revoked') then return false end
  local clean, unsure = {}, {}
  for _, item in ipairs(held) do
    local sure = item[3] == DOUBT.NONE and doubt == DOUBT.NONE
    local list = sure and clean or unsure
    list[#list + 1] = item[1]
  end
  in_slices('HDEL', KEY.leased, ids_of(held))
  end_items(request, OUTCOME.CANCELLED, 0, '', clean, KEY.in_flight, now)
  end_items(request, OUTCOME.CANCELLED, 0, REMARK_DOUBTFUL, unsure, KEY.in_flight, now)
  return true
end

local function worse(doubt, before)
  if doubt == DOUBT.UNANSWERED or before == DOUBT.UNANSWERED then return DOUBT.UNANSWERED end
  return DOUBT.NONE
end

local function put_back_to_retry(request, attempts, doubt, delay, ids)
  local held = take_held(request, ids)
  note_doubt(doubt, ids_of(held))
  if #held == 0 or cancel_instead(request, held, doubt) then return end
  local mine, dues, tries = ids_of(held), {}, {}
  for _, item in ipairs(held) do
    dues[#dues + 1], dues[#dues + 2] = now + delay, item[1]
    tries[#tries + 1], tries[#tries + 2] = item[1], attempts .. ' ' .. worse(doubt, item[3])
  end
  in_slices('HDEL', KEY.leased, mine)
  in_slices('ZADD', request_key(request, 'retries'), dues)
  in_slices('HSET', request_key(request, 'tried'), tries)
  count_flight({[request] = #held}, -1)
  note_next_retry(request)
end

local function park(group, delay, fails, suspect, doubt, requests)
  local kept, leased, by_request = {}, {}, {}
  for _, part in ipairs(requests) do
    local request = part[1]
    local held = take_held(request, part[2])
    note_doubt(doubt, ids_of(held))
    if #held > 0 and not cancel_instead(request, held, doubt) then
      by_request[request] = #held
      for _, item in ipairs(held) do
        kept[#kept + 1] = {request, item[1], item[2], worse(doubt, item[3])}
        leased[#leased + 1], leased[#leased + 2] = item[1], group
      end
    end
  end
  if #kept == 0 then return end
  local failed_at = doubt == DOUBT.UNANSWERED and now or redis.call('HGET', lease, 'failed_at') or 0
  redis.call('HSET', KEY['lease:'] .. group, 'held', '0', 'fails', fails, 'failed_at', failed_at, 'suspect', suspect,
    'items', pack_items(kept))
  in_slices('HSET', KEY.leased, leased)
  redis.call('ZADD', KEY.leases, now + delay, group)
  count_flight(by_request, -1)
end

-- Two sets take turns, so that an id is remembered for at least `remember` and at most twice as long.
local function remember_gone()
  if #gone == 0 then return end
  local turn = math.floor(now / remember)
  local key = turn % 2 == 0 and KEY['gone:0'] or KEY['gone:1']
  in_slices('SADD', key, gone)
  redis.call('PEXPIREAT', key, (turn + 2) * remember)
end

for _, e in ipairs(verdict.ended or {}) do record_ended(e[1], e[2], e[3], e[4], e[5], e[6]) end
for _, r in ipairs(verdict.retried or {}) do put_back_to_retry(r[1], r[2], r[3], r[4], r[5]) end
for _, p in ipairs(verdict.parked or {}) do park(p[1], p[2], p[3], p[4], p[5], p[6]) end
remember_gone()
remember_doubtful(doubtful, now, result_ttl, remember)
leave_items(token, what_is_left())

local reply = {settled}
for _, request in ipairs(order) do
  if finish(request, now, result_ttl, patience) then reply[#reply + 1] = request end
end
return reply
