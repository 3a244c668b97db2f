-- uses: base
-- The items of a claim or a parked group, and the counters that follow them.

local REMARK_DOUBTFUL = 'cancelled after a call whose answer was lost: the file may be deleted'

-- Items, each {request, file, attempts, doubt}, as JSON: those that stand together and have the same make one run,
-- [request, attempts, doubt, [file…]].
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

-- The items of a lease.
local function read_items(lease)
  local packed, items = redis.call('HGET', lease, 'items'), {}
  for _, run in ipairs(packed and cjson.decode(packed) or {}) do
    for _, file in ipairs(run[4]) do items[#items + 1] = {run[1], file, run[2], run[3]} end
  end
  return items
end

-- Write down which items are left in a lease; without any it is over.
local function leave_items(token, items)
  local lease = KEY['lease:'] .. token
  if #items > 0 then
    redis.call('HSET', lease, 'items', pack_items(items))
  else
    redis.call('DEL', lease)
    redis.call('ZREM', KEY.leases, token)
    redis.call('SREM', KEY.parked, token)
  end
end

-- Move items between waiting and in flight (sign 1: they take off, -1: they come back) in all counters. `by_request` has
-- the number of items of each request.
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

-- Remember of which files a call's answer was lost, for as long as anybody may ask for them again.
local function remember_doubtful(files, now, result_ttl, remember)
  if #files == 0 then return end
  local keep, scores = math.max(result_ttl, remember), {}
  for _, file in ipairs(files) do scores[#scores + 1], scores[#scores + 2] = now, file end
  in_slices('ZADD', KEY.doubtful, scores)
  redis.call('ZREMRANGEBYSCORE', KEY.doubtful, '-inf', now - keep)
  redis.call('PEXPIRE', KEY.doubtful, keep)
end
