-- uses: base
-- The ids of a request that no claim has taken. They are a list of their own or, if they fit, the field `ids` of its
-- hash, separated by spaces. A longer value would make Redis store the whole hash as a table.

local FIELD_BYTES = 64

-- Ids as a value of the field; nil if they do not fit.
local function as_field(ids)
  if #ids > FIELD_BYTES then return nil end
  local text = table.concat(ids, ' ')
  return #text <= FIELD_BYTES and text or nil
end

local function field_ids(request)
  local ids = {}
  for id in string.gmatch(redis.call('HGET', request_key(request), 'ids') or '', '%S+') do ids[#ids + 1] = id end
  return ids
end

local function count_waiting(request)
  local listed = redis.call('LLEN', request_key(request, 'waiting'))
  return listed > 0 and listed or #field_ids(request)
end

-- Take up to n of the ids, in their order. Returns them, and whether any are left.
local function take_waiting(request, n)
  local ids, list = field_ids(request), request_key(request, 'waiting')
  if #ids == 0 then return redis.call('LPOP', list, n) or {}, redis.call('EXISTS', list) == 1 end
  local rest = {unpack(ids, n + 1)}
  if #rest > 0 then
    redis.call('HSET', request_key(request), 'ids', as_field(rest))
  else
    redis.call('HDEL', request_key(request), 'ids')
  end
  return {unpack(ids, 1, n)}, #rest > 0
end

-- Move the ids of a cancelled request to the list `withdrawn`. Returns their number.
local function withdraw_waiting(request)
  local ids, list = field_ids(request), request_key(request, 'waiting')
  if #ids > 0 then
    redis.call('HDEL', request_key(request), 'ids')
    redis.call('RPUSH', list, unpack(ids))
  end
  if redis.call('EXISTS', list) == 0 then return 0 end
  redis.call('RENAME', list, request_key(request, 'withdrawn'))
  return redis.call('LLEN', request_key(request, 'withdrawn'))
end
