-- uses: base
-- The items of claims and parked groups, each {request, file, attempts, doubt}.

local function ids_of(items)
  local ids = {}
  for i, item in ipairs(items) do ids[i] = item[2] end
  return ids
end

-- Items as JSON: neighbours with the same request, attempts and doubt make one run, [request, attempts, doubt,
-- [file…]].
local function pack_items(items)
  local runs, last = {}, nil
  for _, item in ipairs(items) do
    if not last or item[1] ~= last[1] or item[3] ~= last[3] or item[4] ~= last[4] then
      last = item
      runs[#runs + 1] = {item[1], item[3], item[4], {}}
    end
    local files = runs[#runs][4]
    files[#files + 1] = item[2]
  end
  return cjson.encode(runs)
end

local function read_items(lease)
  local packed, items = redis.call('HGET', lease, 'items'), {}
  for _, run in ipairs(packed and cjson.decode(packed) or {}) do
    for _, file in ipairs(run[4]) do items[#items + 1] = {run[1], file, run[2], run[3]} end
  end
  return items
end

local function drop_lease(token)
  redis.call('DEL', KEY['lease:'] .. token)
  redis.call('ZREM', KEY.leases, token)
  redis.call('SREM', KEY.parked, token)
end

-- Write the items that are left in a lease; without any, drop it.
local function leave_items(token, items)
  if #items == 0 then return drop_lease(token) end
  redis.call('HSET', KEY['lease:'] .. token, 'items', pack_items(items))
end

-- Move items from waiting to in flight (sign 1) or back (sign -1) in all counters. `by_request`: items of each request.
local function count_flight(by_request, sign)
  local by_source = {}
  for request, n in pairs(by_request) do
    local source = redis.call('HGET', request_key(request), 'source')
    if source then
      redis.call('HINCRBY', request_key(request), 'in_flight', sign * n)
      if sign > 0 then redis.call('SADD', KEY.changed, request) end
      by_source[source] = (by_source[source] or 0) + n
    end
  end
  for source, n in pairs(by_source) do
    count(KEY.in_flight, source, sign * n)
    count(KEY.waiting, source, -sign * n)
  end
end

-- Let items of one request wait for a retry.
local function add_retries(request, items, due)
  local dues, tries = {}, {}
  for _, item in ipairs(items) do
    dues[#dues + 1], dues[#dues + 2] = due, item[2]
    tries[#tries + 1], tries[#tries + 2] = item[2], item[3] .. ' ' .. item[4]
  end
  in_slices('ZADD', request_key(request, 'retries'), dues)
  in_slices('HSET', request_key(request, 'tried'), tries)
  count(KEY.retrying, redis.call('HGET', request_key(request), 'source'), #items)
end

-- Remember the files of an unanswered call for as long as it can matter to another request.
local function remember_doubtful(files, now, result_ttl, remember)
  if #files == 0 then return end
  local keep, scores = math.max(result_ttl, remember), {}
  for _, file in ipairs(files) do scores[#scores + 1], scores[#scores + 2] = now, file end
  in_slices('ZADD', KEY.doubtful, scores)
  redis.call('ZREMRANGEBYSCORE', KEY.doubtful, '-inf', now - keep)
  redis.call('PEXPIRE', KEY.doubtful, keep)
end
