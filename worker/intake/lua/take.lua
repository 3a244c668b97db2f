-- uses: base
-- Move messages to a list leased under a token, oldest first: a list whose lease has expired, else messages of the
-- first broker list that has any. A token is used once, so its list never changes and may safely be accepted twice.
--
-- KEYS  1 prefix   2… lists of the broker, most urgent first
-- ARGV  1 {token, most: number of messages, most_bytes: take no more once this many bytes are taken, lease_ms}
-- Returns the time, ms.
local AT_ONCE = 10 -- messages moved between two checks of their size
local args, now = cjson.decode(ARGV[1]), now_ms()
local list = KEY['intake:'] .. args.token

local function take_over()
  local left = redis.call('ZRANGEBYSCORE', KEY.intake, '-inf', now, 'LIMIT', 0, 1)[1]
  if not left then return false end
  redis.call('ZREM', KEY.intake, left)
  return redis.call('EXISTS', KEY['intake:'] .. left) == 1 and redis.call('RENAME', KEY['intake:'] .. left, list)
end

local function take_from(source)
  local taken, bytes = 0, 0
  while taken < args.most and bytes < args.most_bytes do
    local some = redis.call('RPOP', source, AT_ONCE)
    if not some or #some == 0 then break end
    redis.call('RPUSH', list, unpack(some))
    taken = taken + #some
    for _, message in ipairs(some) do bytes = bytes + #message end
  end
  return taken > 0
end

local function take()
  if take_over() then return true end
  for i = 2, #KEYS do
    if take_from(KEYS[i]) then return true end
  end
  return false
end

if take() then redis.call('ZADD', KEY.intake, now + args.lease_ms, args.token) end
return now
