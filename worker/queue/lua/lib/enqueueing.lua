-- uses: base, audit, entering, guards, known, waiting, purging
-- How a request is accepted. `asked` has request (its id), source and hold_ms, and may have reason, canvas, origin,
-- result_ttl_ms, callback, content, retry_of, traceparent, guard, purge, priority (of its purges) and urls (file id →
-- URL).

-- Why a request needs approval, in words; '' when it does not.
local function approval_of(asked, total)
  if not asked.guard then return '' end
  local reasons = beyond_guard(asked.guard, asked.source, total)
  local approval = table.concat(beyond_share(reasons, asked.guard.max_share, total), '; ')
  if approval == '' then remember_size(asked.source, total) end
  return approval
end

-- The first fields of a request's hash: names and values.
local function fields_of(asked, now)
  local fields = {'source', asked.source, 'enqueued_at', now}
  local names = {'reason', 'canvas', 'origin', 'result_ttl_ms', 'callback', 'content', 'retry_of',
    'traceparent', 'purge', 'priority'}
  for _, name in ipairs(names) do
    if asked[name] then fields[#fields + 1], fields[#fields + 2] = name, asked[name] end
  end
  return fields
end

-- What several requests (at most `most`) change together: their sequences are reserved at once, and `write_tally`
-- writes the keys that they share, by source.
local function new_tally(most) return {most = most, sources = {}, by_source = {}} end

-- This must be the first write, a command that a full server refuses: after any other it accepts all that follow.
local function reserve_sequences(tally)
  if not tally.sequence then tally.sequence = redis.call('INCRBY', KEY.sequence, tally.most) - tally.most end
end

local function next_sequence(tally)
  reserve_sequences(tally)
  tally.sequence = tally.sequence + 1
  return tally.sequence
end

local function tally_of(tally, source)
  if not tally.by_source[source] then
    tally.by_source[source] = {waiting = 0, on_hold = 0, fresh = {}}
    tally.sources[#tally.sources + 1] = source
  end
  return tally.by_source[source]
end

local function write_tally(tally)
  local accepted = 0
  for _, source in ipairs(tally.sources) do
    local of = tally.by_source[source]
    accepted = accepted + of.waiting
    count(KEY.waiting, source, of.waiting)
    count(KEY.on_hold, source, of.on_hold)
    if #of.fresh > 0 then enter_fresh(source, of.fresh) end
  end
  if accepted > 0 then redis.call('HINCRBY', KEY.metrics, 'accepted', accepted) end
  write_noted()
end

-- Seal a request: it waits for approval if `approval` (a reason in words) is not '', else it is on hold for `hold_ms`,
-- else it enters the line. `about` has its source, and may have reason and origin; `fields` are further names and
-- values of its hash.
local function seal_into(tally, request, about, fields, total, hold_ms, approval, now)
  local of, sequence = tally_of(tally, about.source), next_sequence(tally)
  local detail = {reason = about.reason, retry_of = about.retry_of, traceparent = about.traceparent}
  local function set(name, value) fields[#fields + 1], fields[#fields + 2] = name, value end
  set('state', STATE.QUEUED)
  set('total', total)
  set('sequence', sequence)
  of.waiting = of.waiting + total
  local lacks_urls = about.purge and redis.call('HLEN', request_key(request, 'purge')) < total
  if lacks_urls then set('lookup', 0) end
  if hold_ms > 0 or approval ~= '' then of.on_hold = of.on_hold + total end
  if hold_ms > 0 then
    set('hold_until', now + hold_ms)
    detail.hold_ms = hold_ms
  end
  if approval ~= '' then
    set('approval', approval)
    redis.call('ZADD', KEY.approvals, now, request)
    detail.why = approval
  elseif hold_ms > 0 then
    redis.call('ZADD', KEY.holds, now + hold_ms, request)
  elseif lacks_urls then
    look_up(request, now)
  else
    of.fresh[#of.fresh + 1] = sequence
  end
  redis.call('HSET', request_key(request), unpack(fields))
  redis.call('XADD', KEY.unfinished, sequence .. '-0', 'request', request)
  local event = approval == '' and 'accepted' or 'held'
  note_audit(event, request, about.source, about.origin or '', STATE.QUEUED, total, detail)
end

local function seal(request, about, fields, total, hold_ms, approval, now)
  local tally = new_tally(1)
  seal_into(tally, request, about, fields, total, hold_ms, approval, now)
  write_tally(tally)
end

-- Seal a request whose ids are stored, or are among the `fields` of its hash, and write its first result, if any.
-- Returns what `enqueue` returns.
local function seal_and_tell(tally, asked, fields, total, first_result, now)
  local approval = approval_of(asked, total)
  seal_into(tally, asked.request, asked, fields, total, asked.hold_ms, approval, now)
  if first_result then
    redis.call('SET', RESULT .. asked.request, first_result)
    redis.call('PUBLISH', RESULT .. asked.request, first_result)
  else
    -- The producer may die before it publishes the first result.
    redis.call('SADD', KEY.changed, asked.request)
  end
  return {STATE.QUEUED, '1', total, approval}
end

-- Enqueue a request with all its ids, whose id is unknown.
local function enqueue_new(tally, asked, ids, first_result, now)
  if #ids == 0 then return {STATE.OPEN, '0', 0, ''} end
  reserve_sequences(tally)
  local fields, field = fields_of(asked, now), as_field(ids)
  if field then
    fields[#fields + 1], fields[#fields + 2] = 'ids', field
  else
    in_slices('RPUSH', request_key(asked.request, 'waiting'), ids)
  end
  if asked.purge then store_urls(request_key(asked.request, 'purge'), asked.urls) end
  return seal_and_tell(tally, asked, fields, #ids, first_result, now)
end

-- Enqueue a request with all its ids, unless its id is known; an unsealed one with this id makes way.
local function enqueue_whole(tally, asked, ids, first_result, now)
  local state, total, is_taken = known_request(asked.request)
  if is_taken then return {TAKEN, '0', 0, ''} end
  if state and state ~= STATE.OPEN then return {state, '0', total, ''} end
  if state and #ids > 0 then
    reserve_sequences(tally)
    redis.call('DEL', request_key(asked.request))
  end
  return enqueue_new(tally, asked, ids, first_result, now)
end

-- Whether all these requests are unknown, and different.
local function are_new(requests)
  local keys, different = {}, {}
  for _, request in ipairs(requests) do
    if different[request.request] then return false end
    different[request.request] = true
    keys[#keys + 1] = request_key(request.request)
    keys[#keys + 1] = RESULT .. request.request
  end
  return #keys > 0 and #keys <= SLICE and redis.call('EXISTS', unpack(keys)) == 0
end

-- Enqueue whole requests, each with its `file_ids` and its first result. Returns what `enqueue` does, for each.
local function enqueue_all(requests, first_results, now)
  local tally, replies, new = new_tally(#requests), {}, are_new(requests)
  for i, request in ipairs(requests) do
    local enqueue = new and enqueue_new or enqueue_whole
    replies[i] = enqueue(tally, request, request.file_ids, first_results[i], now)
  end
  write_tally(tally)
  return replies
end
