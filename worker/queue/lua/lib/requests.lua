-- uses: base, lines, audit
-- How requests begin and end.

-- Write down that items ended; `room` is the counter they leave, KEY.waiting or KEY.in_flight.
local function end_items(request, outcome, attempts, error, ids, room, now)
  if #ids == 0 then return end
  local key = request_key(request)
  redis.call('RPUSH', request_key(request, outcome), cjson.encode({now, tonumber(attempts), error, unpack(ids)}))
  redis.call('HINCRBY', key, outcome, #ids)
  redis.call('HINCRBY', KEY.totals, outcome, #ids)
  if room == KEY.in_flight then redis.call('HINCRBY', key, 'in_flight', -#ids) end
  count(room, redis.call('HGET', key, 'source'), -#ids)
end

-- What became of a request, for the audit trail and for the cleanup run that it came from.
local function record_end(request, about, state, by_outcome)
  local detail = {reason = about.reason or nil}
  for outcome, n in pairs(by_outcome) do
    if n > 0 then detail[outcome] = n end
  end
  write_audit('ended', request, about.source, about.origin or '', state, about.total, detail)
  local run = about.run and KEY['cleanup:'] .. 'run:' .. about.run
  if run and redis.call('EXISTS', run) == 1 then
    redis.call('HSET', run, 'result', state, 'counts', cjson.encode(by_outcome))
  end
end

-- What sealing requests changes of keys that they share, by source: written once for all of them, by `write_tally`.
local function new_tally() return {sources = {}} end

local function tally_of(tally, source)
  if not tally[source] then
    tally[source] = {waiting = 0, held = 0, places = {}}
    tally.sources[#tally.sources + 1] = source
  end
  return tally[source]
end

local function write_tally(tally)
  for _, source in ipairs(tally.sources) do
    local of = tally[source]
    count(KEY.waiting, source, of.waiting)
    count(KEY.held, source, of.held)
    if #of.places > 0 then enter_lines(source, of.places) end
  end
end

-- Seal a request: it goes into line, waits for its hold to end, or, for `approval` (a reason in words; '' for none),
-- waits until somebody approves it. `about` has its source, reason and origin, where there are any; `fields` is a list of
-- further fields of its hash, and their values.
local function seal_into(tally, request, about, total, hold, approval, now, sequence, fields)
  local of, detail = tally_of(tally, about.source), {reason = about.reason}
  local function set(name, value) fields[#fields + 1], fields[#fields + 2] = name, value end
  set('state', STATE.QUEUED)
  set('total', total)
  set('sequence', sequence)
  of.waiting = of.waiting + total
  if hold > 0 or approval ~= '' then of.held = of.held + total end
  if hold > 0 then
    set('hold_until', now + hold)
    detail.hold_ms = hold
  end
  if approval ~= '' then
    set('approval', approval)
    redis.call('ZADD', KEY.approvals, now, request)
    detail.why = approval
  elseif hold > 0 then
    redis.call('ZADD', KEY.holds, now + hold, request)
  else
    of.places[#of.places + 1], of.places[#of.places + 2] = sequence, request
  end
  redis.call('HSET', request_key(request), unpack(fields))
  local event = approval == '' and 'accepted' or 'held'
  write_audit(event, request, about.source, about.origin or '', STATE.QUEUED, total, detail)
end

local function seal(request, about, total, hold, approval, now)
  local tally = new_tally()
  seal_into(tally, request, about, total, hold, approval, now, next_number(), {})
  write_tally(tally)
end

-- When all items of a request have ended: make it final and put it in the outbox. Returns whether it has.
local function finish(request, now, result_ttl, patience)
  local key = request_key(request)
  local about = redis.call('HMGET', key, 'state', 'total', 'revoked', 'source', 'reason', 'run', 'origin',
    unpack(OUTCOMES))
  if not about[1] or FINAL[about[1]] or about[1] == STATE.OPEN then return false end
  local ended, by_outcome = 0, {}
  for i, outcome in ipairs(OUTCOMES) do
    by_outcome[outcome] = tonumber(about[7 + i] or 0)
    ended = ended + by_outcome[outcome]
  end
  if ended < tonumber(about[2]) then
    redis.call('SADD', KEY.changed, request)
    return false
  end
  local state = STATE.SUCCESS
  if about[3] and by_outcome[OUTCOME.CANCELLED] > 0 then
    state = STATE.REVOKED
  elseif by_outcome[OUTCOME.FAILED] > 0 then
    state = STATE.FAILURE
  end
  redis.call('HSET', key, 'state', state, 'finished_at', now)
  redis.call('PEXPIRE', key, result_ttl)
  if about[3] then redis.call('PEXPIRE', request_key(request, 'withdrawn'), result_ttl) end
  for outcome, n in pairs(by_outcome) do
    if n > 0 then redis.call('PEXPIRE', request_key(request, outcome), result_ttl) end
  end
  redis.call('SREM', KEY.changed, request)
  local known = {source = about[4] or '', reason = about[5], run = about[6], origin = about[7], total = about[2]}
  record_end(request, known, state, by_outcome)
  redis.call('ZADD', KEY.outbox, now + patience, request)
  return true
end
