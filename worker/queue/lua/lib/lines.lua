-- uses: base, entering, waiting
-- Who is served next: each source has a line, its requests that have work, and sources take turns. A line has two
-- parts: new requests are in the list `fresh`, which costs 6 bytes each; those that come back, from a hold, for a retry
-- or approved, are in the set `line`, which costs 109.

local function has_line(source)
  return redis.call('EXISTS', line_key(source), fresh_key(source)) > 0
end

-- The request with a sequence; false if it is final.
local function request_of(sequence)
  local id = sequence .. '-0'
  local entry = redis.call('XRANGE', KEY.unfinished, id, id)[1]
  return entry and entry[2][2] or false
end

-- The first request in `fresh` that is not final, and its sequence; nil if there is none among the first 500. Those
-- before it were cancelled, and leave.
local function first_fresh(source)
  for _ = 1, 500 do
    local sequence = redis.call('LINDEX', fresh_key(source), 0)
    if not sequence then return nil end
    local request = request_of(sequence)
    if request then return request, tonumber(sequence) end
    redis.call('LPOP', fresh_key(source))
  end
end

-- The request of a source that is served next, nil if there is none, and whether it is the first of `fresh`.
local function first_in_line(source)
  local back = redis.call('ZRANGE', line_key(source), 0, 0, 'WITHSCORES')
  local request, sequence = first_fresh(source)
  if request and sequence < tonumber(back[2] or 1 / 0) then return request, true end
  return back[1], false
end

local function leave_line(request, source, is_fresh)
  if is_fresh then
    redis.call('LPOP', fresh_key(source))
  else
    redis.call('ZREM', line_key(source), request)
  end
end

-- Move up to 200 due requests from a set by time into line, after calling `leave` for each.
local function promote(set, now, leave)
  for _, request in ipairs(redis.call('ZRANGEBYSCORE', set, '-inf', now, 'LIMIT', 0, 200)) do
    redis.call('ZREM', set, request)
    local about = redis.call('HMGET', request_key(request), 'source', 'sequence', 'lookup')
    if about[1] then
      if leave then leave(request, about[1]) end
      go_on(request, about[1], about[2], about[3], now)
    end
  end
end

-- The ids of a request are no longer on hold.
local function end_hold(request, source)
  count(KEY.on_hold, source, -count_waiting(request))
end

-- Let requests into line whose retries are due or whose hold has ended.
local function promote_due(now)
  promote(KEY.retries, now)
  promote(KEY.holds, now, end_hold)
end

-- Note when the first retry of a request is due.
local function note_next_retry(request)
  local first = redis.call('ZRANGE', request_key(request, 'retries'), 0, 0, 'WITHSCORES')
  if first[2] then
    redis.call('ZADD', KEY.retries, first[2], request)
  else
    redis.call('ZREM', KEY.retries, request)
  end
end

local function count_due(request, now)
  return redis.call('ZCOUNT', request_key(request, 'retries'), '-inf', now)
end

-- Ids that a claim could take now, counted up to `enough`. Long lines are not counted to their end, and a
-- cancelled request that others stand before counts as one id.
local function count_claimable(now, enough)
  local found = 0
  for _, source in ipairs(redis.call('ZRANGE', KEY.sources, 0, 99)) do
    local line, fresh = line_key(source), fresh_key(source)
    first_fresh(source)
    if not has_line(source) then redis.call('ZREM', KEY.sources, source) end
    found = found + redis.call('ZCARD', line) + redis.call('LLEN', fresh)
    if found >= enough then return enough end
    local sequences, back = redis.call('LRANGE', fresh, 0, 9), redis.call('ZRANGE', line, 0, 9)
    for i = 1, #sequences + #back do
      local request = i <= #sequences and request_of(sequences[i]) or back[i - #sequences]
      local ids = request and count_waiting(request) + count_due(request, now) or 1
      found = found + math.max(0, ids - 1)
      if found >= enough then return enough end
    end
  end
  return found
end
