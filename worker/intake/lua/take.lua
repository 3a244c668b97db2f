-- uses: base
-- Take messages onto a list of their own, oldest first: what somebody took and did not accept in time, else those of the
-- first broker list that has any. The list is leased under a token, which nobody uses twice: so what a token stands for
-- never changes, and whoever holds it may accept it as often as it likes.
--
-- KEYS  1 prefix   2… lists of the broker, most urgent first
-- ARGV  1 {token, most: messages, most_bytes: from which on no further messages are taken, lease_ms}
-- Returns the time, ms.
local AT_ONCE = 10 -- messages, so that it stops in time when they are large
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
