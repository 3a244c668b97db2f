-- uses: base
-- The lines of requests with ids to claim, and what brings requests back into them.

-- Put requests at their places in their source's line, and the source among those that have work. `places` is a list of
-- sequence, request, sequence, request …
local function enter_lines(source, places)
  in_slices('ZADD', line_key(source), places)
  if not redis.call('ZSCORE', KEY.sources, source) then
    redis.call('ZADD', KEY.sources, next_number(), source)
  end
end

local function enter_line(request, source, sequence)
  enter_lines(source, {sequence, request})
end

-- Let requests back into line whose retries are due or whose hold has ended; 200 of each at a time.
local function promote_due(now)
  for _, waiting_room in ipairs({KEY.retries, KEY.holds}) do
    for _, request in ipairs(redis.call('ZRANGEBYSCORE', waiting_room, '-inf', now, 'LIMIT', 0, 200)) do
      redis.call('ZREM', waiting_room, request)
      local about = redis.call('HMGET', request_key(request), 'source', 'sequence', 'total')
      if about[1] then
        enter_line(request, about[1], about[2])
        if waiting_room == KEY.holds then count(KEY.held, about[1], -about[3]) end
      end
    end
  end
end

-- Where this request's first retry is due, for the account-wide set of such times.
local function note_next_retry(request)
  local first = redis.call('ZRANGE', request_key(request, 'retries'), 0, 0, 'WITHSCORES')
  if first[2] then
    redis.call('ZADD', KEY.retries, first[2], request)
  else
    redis.call('ZREM', KEY.retries, request)
  end
end

-- Ids that a claim could take now, counted up to `enough`; never more than there are.
local function count_claimable(now, enough)
  local found = 0
  for _, source in ipairs(redis.call('ZRANGE', KEY.sources, 0, 99)) do
    local line = line_key(source)
    found = found + redis.call('ZCARD', line)
    if found >= enough then return enough end
    for _, request in ipairs(redis.call('ZRANGE', line, 0, 9)) do
      local ids = redis.call('LLEN', request_key(request, 'waiting'))
        + redis.call('ZCOUNT', request_key(request, 'retries'), '-inf', now)
      found = found + math.max(0, ids - 1)
      if found >= enough then return enough end
    end
  end
  return found
end
