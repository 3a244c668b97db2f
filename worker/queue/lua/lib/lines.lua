-- uses: base, waiting
-- Who is served next: each source has a line, its requests that have work, and sources take turns.

local function line_key(source)
  return KEY['source:'] .. source .. ':line'
end

-- Add requests to their source's line, and the source to those that have work. `entries` is sequence, request,
-- sequence, request …
local function enter_line(source, entries)
  in_slices('ZADD', line_key(source), entries)
  if not redis.call('ZSCORE', KEY.sources, source) then
    redis.call('ZADD', KEY.sources, next_number(), source)
  end
end

-- Move up to 200 due requests from a set by time into line, after calling `leave` for each.
local function promote(set, now, leave)
  for _, request in ipairs(redis.call('ZRANGEBYSCORE', set, '-inf', now, 'LIMIT', 0, 200)) do
    redis.call('ZREM', set, request)
    local about = redis.call('HMGET', request_key(request), 'source', 'sequence')
    if about[1] then
      if leave then leave(request, about[1]) end
      enter_line(about[1], {about[2], request})
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

-- Ids that a claim could take now, counted up to `enough`. A lower bound: long lines are not counted to their end.
local function count_claimable(now, enough)
  local found = 0
  for _, source in ipairs(redis.call('ZRANGE', KEY.sources, 0, 99)) do
    local line = line_key(source)
    found = found + redis.call('ZCARD', line)
    if found >= enough then return enough end
    for _, request in ipairs(redis.call('ZRANGE', line, 0, 9)) do
      local ids = count_waiting(request) + redis.call('ZCOUNT', request_key(request, 'retries'), '-inf', now)
      found = found + math.max(0, ids - 1)
      if found >= enough then return enough end
    end
  end
  return found
end
