-- uses: base, waiting
-- Take ids whose URLs are to be looked up, of the requests that wait for it longest, under a lease.
--
-- KEYS  1 prefix
-- ARGV  1 {most: number of ids, scan: most ids of a request to go through at once, lease_ms}
-- Returns {{request, position of the first id, position after the last one or -1 at the end, failures so far, ids}…}
local args, now = cjson.decode(ARGV[1]), now_ms()
local room, reply = args.most, {}

local function ids_from(request, first)
  local ids = field_ids(request)
  if #ids > 0 then return {unpack(ids, first + 1)} end
  return redis.call('LRANGE', request_key(request, 'waiting'), first, first + args.scan - 1)
end

-- Ids without a URL, at most `room`, and the position after the last id seen; -1 at the end.
local function lacking(request, first)
  local ids, found, seen = ids_from(request, first), {}, 0
  for i, url in ipairs(in_slices('HMGET', request_key(request, 'purge'), ids)) do
    if not url and #found == room then return found, first + seen end
    seen = i
    if not url then found[#found + 1] = ids[i] end
  end
  return found, #ids < args.scan and -1 or first + seen
end

for _, request in ipairs(redis.call('ZRANGEBYSCORE', KEY.lookups, '-inf', now, 'LIMIT', 0, args.most)) do
  local about = redis.call('HMGET', request_key(request), 'lookup', 'lookup_failures')
  if about[1] then
    local first = tonumber(about[1])
    local found, next_position = lacking(request, first)
    reply[#reply + 1] = {request, first, next_position, tonumber(about[2] or 0), found}
    redis.call('ZADD', KEY.lookups, now + args.lease_ms, request)
    room = room - #found
    if room == 0 then break end
  else
    redis.call('ZREM', KEY.lookups, request)
  end
end
return reply
