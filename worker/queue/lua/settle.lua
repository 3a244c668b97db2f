-- uses: base, audit, lines, claims, requests
-- Settle a claim: record the outcomes of its items, or return them to the queue. Only items that the token still holds
-- change, except that `deleted` is recorded even after the lease has expired, wherever the item is by then.
--
-- KEYS  1 prefix
-- ARGV  1 {token, result_ttl_ms, outbox_delay_ms, remember_ms: how long deleted ids are remembered,
--          ended: [{request, outcome, attempts, error, doubt, ids}…],
--          retried: [{request, attempts, doubt, delay_ms, ids}…],
--          parked: [{delay_ms, fails, suspect, doubt, requests: [{request, ids}…]}…]}
-- Returns the ids of requests that are final now. The n-th parked group of a claim has the token `<claim token>.<n>`.
local args = cjson.decode(ARGV[1])
local token = args.token
local lease = KEY['lease:'] .. token
local now = now_ms()
local touched, order, gone, doubtful = {}, {}, {}, {}

local function touch(request)
  if not touched[request] then
    touched[request] = true
    order[#order + 1] = request
  end
end

-- The items that are not settled yet: request → file → item.
local items, claimed = read_items(lease), {}
for _, item in ipairs(items) do
  claimed[item[1]] = claimed[item[1]] or {}
  claimed[item[1]][item[2]] = item
end

local function what_is_left()
  local left = {}
  for _, item in ipairs(items) do
    if claimed[item[1]][item[2]] then left[#left + 1] = item end
  end
  return left
end

-- Takes the items of one request off the lease. Returns them, and the ids that the token does not hold.
local function take_claimed(request, ids)
  local here, mine, strays = claimed[request] or {}, {}, {}
  for _, id in ipairs(ids) do
    if here[id] then
      mine[#mine + 1] = here[id]
      here[id] = nil
    else
      strays[#strays + 1] = id
    end
  end
  if #mine > 0 then touch(request) end
  return mine, strays
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

-- Takes a deleted item from another lease or from the retries. Returns the counter that it leaves; nil if it has ended.
local function take_stray(request, id)
  local other = redis.call('HGET', KEY.leased, id)
  local is_in_flight = other and redis.call('SISMEMBER', KEY.parked, other) == 0
  if other and take_from_lease(other, request, id) then
    redis.call('HDEL', KEY.leased, id)
    return is_in_flight and KEY.in_flight or KEY.waiting
  end
  if redis.call('ZREM', request_key(request, 'retries'), id) == 1 then
    redis.call('HDEL', request_key(request, 'tried'), id)
    count(KEY.retrying, redis.call('HGET', request_key(request), 'source'), -1)
    note_next_retry(request)
    return KEY.waiting
  end
end

local function record_strays(request, attempts, strays)
  for _, id in ipairs(strays) do
    local counter = take_stray(request, id)
    if counter then
      end_items(request, OUTCOME.DELETED, attempts, '', {id}, counter, now)
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

local function record_ended(it)
  local mine, strays = take_claimed(it.request, it.ids)
  local ids = ids_of(mine)
  note_doubt(it.doubt, ids)
  in_slices('HDEL', KEY.leased, ids)
  end_items(it.request, it.outcome, it.attempts, it.error, ids, KEY.in_flight, now)
  if it.outcome == OUTCOME.DELETED then
    record_strays(it.request, it.attempts, strays)
    for _, id in ipairs(it.ids) do gone[#gone + 1] = id end
  end
end

-- Cancels items of a cancelled request. Returns whether the request is cancelled.
local function cancel_instead(request, mine)
  if not redis.call('HGET', request_key(request), 'revoked') then return false end
  local sure, unsure = {}, {}
  for _, item in ipairs(mine) do
    local ids = item[4] == DOUBT.NONE and sure or unsure
    ids[#ids + 1] = item[2]
  end
  in_slices('HDEL', KEY.leased, ids_of(mine))
  end_items(request, OUTCOME.CANCELLED, 0, '', sure, KEY.in_flight, now)
  end_items(request, OUTCOME.CANCELLED, 0, REMARK_DOUBTFUL, unsure, KEY.in_flight, now)
  return true
end

-- Takes the items of one request that return to the queue, with the doubt that this call adds. Empty if the request is
-- cancelled.
local function take_back(request, ids, doubt)
  local mine = take_claimed(request, ids)
  note_doubt(doubt, ids_of(mine))
  for _, item in ipairs(mine) do
    if doubt == DOUBT.UNANSWERED then item[4] = doubt end
  end
  if #mine == 0 or cancel_instead(request, mine) then return {} end
  return mine
end

local function put_back_to_retry(it)
  local mine = take_back(it.request, it.ids, it.doubt)
  if #mine == 0 then return end
  for _, item in ipairs(mine) do item[3] = it.attempts end
  in_slices('HDEL', KEY.leased, ids_of(mine))
  add_retries(it.request, mine, now + it.delay_ms)
  count_flight({[it.request] = #mine}, -1)
  note_next_retry(it.request)
end

local function park(group)
  local parked, by_request, leased = {}, {}, {}
  for _, part in ipairs(group.requests) do
    local mine = take_back(part.request, part.ids, group.doubt)
    if #mine > 0 then by_request[part.request] = #mine end
    for _, item in ipairs(mine) do parked[#parked + 1] = item end
  end
  if #parked == 0 then return end
  local name = token .. '.' .. redis.call('HINCRBY', lease, 'groups', 1)
  for _, item in ipairs(parked) do leased[#leased + 1], leased[#leased + 2] = item[2], name end
  local failed_at = group.doubt == DOUBT.UNANSWERED and now or redis.call('HGET', lease, 'failed_at') or 0
  redis.call('HSET', KEY['lease:'] .. name, 'fails', group.fails, 'failed_at', failed_at,
    'suspect', group.suspect and '1' or '0', 'items', pack_items(parked))
  in_slices('HSET', KEY.leased, leased)
  redis.call('ZADD', KEY.leases, now + group.delay_ms, name)
  redis.call('SADD', KEY.parked, name)
  count_flight(by_request, -1)
end

-- Two sets alternate, so that an id is remembered for at least `remember_ms` and at most twice as long.
local function remember_gone()
  if #gone == 0 then return end
  local turn = math.floor(now / args.remember_ms)
  local key = turn % 2 == 0 and KEY['gone:0'] or KEY['gone:1']
  in_slices('SADD', key, gone)
  redis.call('PEXPIREAT', key, (turn + 2) * args.remember_ms)
end

for _, it in ipairs(args.ended) do record_ended(it) end
for _, it in ipairs(args.retried) do put_back_to_retry(it) end
for _, group in ipairs(args.parked) do park(group) end
remember_gone()
remember_doubtful(doubtful, now, args.result_ttl_ms, args.remember_ms)
leave_items(token, what_is_left())

local finished = {}
for _, request in ipairs(order) do
  if finish(request, now, args.result_ttl_ms, args.outbox_delay_ms) then finished[#finished + 1] = request end
end
write_ends()
return finished
