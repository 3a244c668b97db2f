-- uses: base, audit, lines, claims, requests
-- Claim up to `size` items for one call, under a token and a lease. A due group comes first: the items of an expired
-- lease, or a parked group. It is topped up with fresh items unless it is a suspect. Otherwise all sources that have
-- work get equal shares. A group never takes two turns in a row while other work waits.
--
-- KEYS  1 prefix
-- ARGV  1 {token, size: number of ids, lease_ms, fewest: smallest number of fresh ids worth a claim, result_ttl_ms,
--          outbox_delay_ms, remember_ms: how long deleted ids are remembered}
-- Returns {fails: consecutive failed calls of the group, 0 for fresh items, ms since the last of them or -1, '1' if it
--          is a suspect, items: JSON, [[request id, attempts, doubt, [file id…]]…]}; {} when there is nothing to claim.
local args = cjson.decode(ARGV[1])
local token, size = args.token, args.size
local lease = KEY['lease:'] .. token
local now = now_ms()

-- Cancel the items of cancelled requests, with a remark if an unanswered call may have deleted them. Returns the
-- others.
local function without_revoked(items)
  local revoked, kept, touched = {}, {}, {}
  for _, item in ipairs(items) do
    local request, file = item[1], item[2]
    if revoked[request] == nil then revoked[request] = redis.call('HGET', request_key(request), 'revoked') or false end
    if revoked[request] then
      local remark = item[4] == DOUBT.NONE and '' or REMARK_DOUBTFUL
      end_items(request, OUTCOME.CANCELLED, item[3], remark, {file}, KEY.in_flight, now)
      redis.call('HDEL', KEY.leased, file)
      touched[request] = true
    else
      kept[#kept + 1] = item
    end
  end
  for request in pairs(touched) do finish(request, now, args.result_ttl_ms, args.outbox_delay_ms) end
  write_ends()
  return kept
end

local function count_take_off(items)
  local by_request = {}
  for _, item in ipairs(items) do
    by_request[item[1]] = (by_request[item[1]] or 0) + 1
  end
  count_flight(by_request, 1)
end

-- The lease expired: its worker died, perhaps after the call.
local function doubt_all(items)
  local files = {}
  for i, item in ipairs(items) do
    item[4] = DOUBT.UNANSWERED
    files[i] = item[2]
  end
  remember_doubtful(files, now, args.result_ttl_ms, args.remember_ms)
end

-- Take over a due group. Returns its items, all in flight now, and fails, failed_at, suspect.
local function take_group(old)
  local from = KEY['lease:'] .. old
  local about = redis.call('HMGET', from, 'fails', 'failed_at', 'suspect')
  local items = read_items(from)
  if redis.call('SISMEMBER', KEY.parked, old) == 1 then
    count_take_off(items)
  else
    doubt_all(items)
  end
  drop_lease(old)
  return without_revoked(items), tonumber(about[1] or 0), tonumber(about[2] or 0), about[3] == '1'
end

-- Take up to `room` due retries of one request. Returns how many.
local function take_retries(request, source, room, items)
  local retries, tried = request_key(request, 'retries'), request_key(request, 'tried')
  local due = redis.call('ZRANGEBYSCORE', retries, '-inf', now, 'LIMIT', 0, room)
  for _, file in ipairs(due) do
    local attempts, doubt = split_field(redis.call('HGET', tried, file))
    items[#items + 1] = {request, file, attempts, doubt}
    redis.call('ZREM', retries, file)
    redis.call('HDEL', tried, file)
  end
  count(KEY.retrying, source, -#due)
  return #due
end

-- Take up to `room` items of the first request in line: due retries, then waiting ids. The request leaves the line once
-- it has neither. Returns how many.
local function take_from_request(request, source, is_fresh, room, items)
  local retries = request_key(request, 'retries')
  local has_retries = redis.call('EXISTS', retries) == 1
  local retried = has_retries and take_retries(request, source, room, items) or 0
  local waiting, are_left = take_waiting(request, room - retried)
  for _, file in ipairs(waiting) do items[#items + 1] = {request, file, '0', DOUBT.NONE} end
  if not are_left and not (has_retries and redis.call('ZCOUNT', retries, '-inf', now) > 0) then
    leave_line(request, source, is_fresh)
    if has_retries then note_next_retry(request) end
  end
  return retried + #waiting
end

local function take_from_source(source, room, items)
  local taken = 0
  while taken < room do
    local first, is_fresh = first_in_line(source)
    if not first then break end
    taken = taken + take_from_request(first, source, is_fresh, room - taken, items)
  end
  return taken
end

-- Fill `room` in equal shares; what one source cannot use is shared among the others.
local function take_shares(room, items)
  local sources = redis.call('ZRANGE', KEY.sources, 0, room - 1)
  local served = sources
  while room > 0 and #sources > 0 do
    local still = {}
    for i, source in ipairs(sources) do
      local share = math.ceil(room / (#sources - i + 1))
      local taken = take_from_source(source, share, items)
      room = room - taken
      if taken == share and share > 0 then still[#still + 1] = source end
    end
    sources = still
  end
  for _, source in ipairs(served) do
    if has_line(source) then
      redis.call('ZADD', KEY.sources, next_number(), source)
    else
      redis.call('ZREM', KEY.sources, source)
    end
  end
end

-- Postpone an item whose file id another claim holds, until the outcome of that call is known.
local function defer(item)
  add_retries(item[1], {item}, now + 1000)
  note_next_retry(item[1])
end

-- Add the candidates whose file id no other claim holds, each file id once.
local function take_free(candidates, items)
  local files = ids_of(candidates)
  local holders = in_slices('HMGET', KEY.leased, files)
  local mine = {}
  for _, item in ipairs(items) do
    mine[item[2]] = true
  end
  for i, item in ipairs(candidates) do
    if holders[i] or mine[files[i]] then
      defer(item)
    else
      mine[files[i]] = true
      items[#items + 1] = item
    end
  end
end

local ROUNDS = 8 -- refills of the room that postponed items leave: halving it eight times leaves none in a batch of 100

local function take_fresh(room, items)
  local before = #items
  for _ = 1, ROUNDS do
    local candidates = {}
    take_shares(room - (#items - before), candidates)
    if #candidates == 0 then break end
    take_free(candidates, items)
    if #items - before >= room then break end
  end
  count_take_off({unpack(items, before + 1)})
end

local function set_doubt(items, doubt, command, key, files, is_known)
  if redis.call('EXISTS', key) == 0 then return end
  for i, reply in ipairs(in_slices(command, key, files)) do
    if is_known(reply) then items[i][4] = doubt end
  end
end

-- Add what calls for other requests have shown about each file id.
local function add_knowledge(items)
  local files = ids_of(items)
  set_doubt(items, DOUBT.UNANSWERED, 'ZMSCORE', KEY.doubtful, files, function(score) return score end)
  for _, name in ipairs({'gone:0', 'gone:1'}) do
    set_doubt(items, DOUBT.GONE, 'SMISMEMBER', KEY[name], files, function(is_member) return is_member == 1 end)
  end
end

local function write_lease(packed, items, fails, failed_at, suspect)
  redis.call('HSET', lease, 'fails', fails, 'failed_at', failed_at, 'suspect', suspect and '1' or '0',
    'items', packed)
  local leased = {}
  for _, item in ipairs(items) do
    leased[#leased + 1], leased[#leased + 2] = item[2], token
  end
  in_slices('HSET', KEY.leased, leased)
  redis.call('ZADD', KEY.leases, now + args.lease_ms, token)
end

local packed, fails, failed_at, suspect = nil, 0, 0, false
if redis.call('EXISTS', lease) == 1 then
  local about = redis.call('HMGET', lease, 'fails', 'failed_at', 'suspect', 'items')
  fails, failed_at, suspect, packed = tonumber(about[1]), tonumber(about[2]), about[3] == '1', about[4]
else
  local items = {}
  promote_due(now)
  local others = count_claimable(now, args.fewest) >= args.fewest
  local group = redis.call('ZRANGEBYSCORE', KEY.leases, '-inf', now, 'LIMIT', 0, 1)[1]
  local turn = redis.call('HGET', KEY.account, 'group_had_turn')
  if group and not (turn and others) then
    items, fails, failed_at, suspect = take_group(group)
    if #items == 0 then fails, failed_at, suspect = 0, 0, false end
    redis.call('HSET', KEY.account, 'group_had_turn', '1')
  else
    redis.call('HDEL', KEY.account, 'group_had_turn')
  end
  if not suspect and #items < size and (#items > 0 or others) then
    take_fresh(size - #items, items)
  end
  if #items == 0 then return {} end
  add_knowledge(items)
  packed = pack_items(items)
  write_lease(packed, items, fails, failed_at, suspect)
end
return {fails, failed_at > 0 and now - failed_at or -1, suspect and '1' or '0', packed}
