-- uses: base, lines, claims, requests
-- Settle items of a claim: record how they ended, or put them back. Only items that the token still holds change, so
-- that settling twice changes nothing more. A definite "deleted" counts even after the lease ran out, wherever the item
-- is by then.
--
-- KEYS  1 prefix
-- ARGV  1 token   2 settlements, JSON (below)   3 result ttl, ms   4 patience of the outbox, ms
--       5 how long deleted ids are remembered, ms
-- settlements.ended    [{request, outcome, attempts, error, doubt, ids}…]
-- settlements.retried  [{request, attempts, doubt, delay_ms, ids}…]   put back one by one, an attempt spent
-- settlements.parked   [{delay_ms, fails, suspect, doubt, requests: [{request, ids}…]}…]   put back as groups, each under
--                      the token `<token>.<number>`
-- Returns {number of items recorded or put back, ids of requests that are final now…}
local token, settlements = ARGV[1], cjson.decode(ARGV[2])
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
    count(KEY.retrying, redis.call('HGET', request_key(request), 'source'), -1)
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

local function record_ended(ended)
  local held, stray = take_held(ended.request, ended.ids)
  local mine = ids_of(held)
  note_doubt(ended.doubt, mine)
  in_slices('HDEL', KEY.leased, mine)
  end_items(ended.request, ended.outcome, ended.attempts, ended.error, mine, KEY.in_flight, now)
  if ended.outcome == OUTCOME.DELETED then
    record_strays(ended.request, ended.attempts, stray)
    for _, id in ipairs(ended.ids) do gone[#gone + 1] = id end
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

local function put_back_to_retry(retried)
  local request, doubt = retried.request, retried.doubt
  local held = take_held(request, retried.ids)
  note_doubt(doubt, ids_of(held))
  if #held == 0 or cancel_instead(request, held, doubt) then return end
  local mine, dues, tries = ids_of(held), {}, {}
  for _, item in ipairs(held) do
    dues[#dues + 1], dues[#dues + 2] = now + retried.delay_ms, item[1]
    tries[#tries + 1], tries[#tries + 2] = item[1], retried.attempts .. ' ' .. worse(doubt, item[3])
  end
  in_slices('HDEL', KEY.leased, mine)
  in_slices('ZADD', request_key(request, 'retries'), dues)
  in_slices('HSET', request_key(request, 'tried'), tries)
  count_flight({[request] = #held}, -1)
  count(KEY.retrying, redis.call('HGET', request_key(request), 'source'), #held)
  note_next_retry(request)
end

-- The next `<token>.<number>` that is free: an earlier settlement of a part of the claim may have parked groups too.
local function new_group()
  local number = 0
  repeat
    number = number + 1
  until redis.call('EXISTS', KEY['lease:'] .. token .. '.' .. number) == 0
  return token .. '.' .. number
end

local function park(parked)
  local group, doubt = new_group(), parked.doubt
  local kept, leased, by_request = {}, {}, {}
  for _, part in ipairs(parked.requests) do
    local request = part.request
    local held = take_held(request, part.ids)
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
  redis.call('HSET', KEY['lease:'] .. group, 'held', '0', 'fails', parked.fails, 'failed_at', failed_at,
    'suspect', parked.suspect and '1' or '0', 'items', pack_items(kept))
  in_slices('HSET', KEY.leased, leased)
  redis.call('ZADD', KEY.leases, now + parked.delay_ms, group)
  redis.call('SADD', KEY.parked, group)
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

for _, ended in ipairs(settlements.ended or {}) do record_ended(ended) end
for _, retried in ipairs(settlements.retried or {}) do put_back_to_retry(retried) end
for _, parked in ipairs(settlements.parked or {}) do park(parked) end
remember_gone()
remember_doubtful(doubtful, now, result_ttl, remember)
leave_items(token, what_is_left())

local reply = {settled}
for _, request in ipairs(order) do
  if finish(request, now, result_ttl, patience) then reply[#reply + 1] = request end
end
return reply
