-- uses: base, limiter/read_limits
-- Read what the metrics show of an account. Changes nothing.
--
-- KEYS  1 prefix   2… the broker's lists of messages that are not accepted yet
-- ARGV  1 {alive_ms: how old the last heartbeat of a living worker may be, most: how many sources, retries and leases
--          are searched for the oldest request, home: prefix of the account whose keys hold what all accounts share}
--       2… what limiter/read_limits takes
-- Returns {figures: JSON, what limiter/read_limits returns, for each of its arguments}
local args = cjson.decode(ARGV[1])
local now = now_ms()
local oldest = {} -- source → when the oldest request with ids that wait was enqueued

local function hash(key)
  local flat, fields = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
  return fields
end

local function numbers(key)
  local fields = hash(key)
  for field, value in pairs(fields) do fields[field] = tonumber(value) end
  return fields
end

local function note_age(request)
  local about = redis.call('HMGET', request_key(request), 'source', 'enqueued_at')
  local at = tonumber(about[2])
  if about[1] and at then oldest[about[1]] = math.min(at, oldest[about[1]] or at) end
end

-- The first new request of a source that is not final; nil if cancelled ones stand before it, which `peek` removes.
local function first_fresh(source)
  for _, sequence in ipairs(redis.call('LRANGE', KEY['source:'] .. source .. ':fresh', 0, 9)) do
    local id = sequence .. '-0'
    local entry = redis.call('XRANGE', KEY.unfinished, id, id)[1]
    if entry then return entry[2][2] end
  end
end

-- Requests whose ids wait: the first in each line, those with retries, and those in parked groups and claims.
local function note_ages()
  for _, source in ipairs(redis.call('ZRANGE', KEY.sources, 0, args.most - 1)) do
    local back, fresh = redis.call('ZRANGE', KEY['source:'] .. source .. ':line', 0, 0)[1], first_fresh(source)
    if back then note_age(back) end
    if fresh then note_age(fresh) end
  end
  for _, request in ipairs(redis.call('ZRANGE', KEY.retries, 0, args.most - 1)) do note_age(request) end
  for _, token in ipairs(redis.call('ZRANGE', KEY.leases, 0, args.most - 1)) do
    local items = redis.call('HGET', KEY['lease:'] .. token, 'items')
    for _, run in ipairs(items and cjson.decode(items) or {}) do note_age(run[1]) end
  end
end

local function count_unaccepted()
  local messages = 0
  for i = 2, #KEYS do messages = messages + redis.call('LLEN', KEYS[i]) end
  for _, token in ipairs(redis.call('ZRANGE', KEY.intake, 0, -1)) do
    messages = messages + redis.call('LLEN', KEY['intake:'] .. token)
  end
  return messages
end

note_ages()

use_account(args.home)
local unaccepted, refusals = count_unaccepted(), tonumber(redis.call('GET', KEY.refusals) or 0)
local workers = redis.call('ZCOUNT', KEY.workers, now - args.alive_ms, '+inf')
use_account(KEYS[1])

local limits = {}
for i = 2, #ARGV do limits[#limits + 1] = read_limits({ARGV[i]}) end
return {cjson.encode({
  now = now,
  totals = numbers(KEY.totals),
  waiting = numbers(KEY.waiting),
  held = numbers(KEY.on_hold),
  in_flight = numbers(KEY.in_flight),
  oldest = oldest,
  unfinished = redis.call('XLEN', KEY.unfinished),
  on_hold = redis.call('ZCARD', KEY.holds),
  unapproved = redis.call('ZCARD', KEY.approvals),
  unpublished = redis.call('ZCOUNT', KEY.outbox, '-inf', now),
  unaccepted = unaccepted,
  webhooks_waiting = redis.call('ZCARD', KEY['webhooks:waiting']),
  webhooks_failed = redis.call('ZCARD', KEY['webhooks:failed']),
  receivers_failing = redis.call('HLEN', KEY['webhooks:resting']),
  workers = workers,
  refusals = refusals,
  account = hash(KEY.account),
  throttle = hash(KEY['limits:'] .. 'delete'),
  counted = numbers(KEY.metrics),
}), unpack(limits)}
