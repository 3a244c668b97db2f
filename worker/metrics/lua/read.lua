-- uses: base, limiter/read_limits
-- Read what the metrics show of an account. Changes nothing.
--
-- KEYS  1 prefix   2… the broker's lists of messages that are not accepted yet
-- ARGV  1 {alive_ms: how old the last heartbeat of a living worker may be, most: how many sources, retries and groups
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
  for index = 0, 9 do
    local sequence = redis.call('LINDEX', KEY['source:'] .. source .. ':fresh', index)
    if not sequence then return nil end
    local id = sequence .. '-0'
    local entry = redis.call('XRANGE', KEY.unfinished, id, id)[1]
    if entry then return entry[2][2] end
  end
end

-- The requests of up to `most` parked groups and expired claims, each once.
local function requests_of_groups()
  local found, seen = {}, {}
  local leases = redis.call('ZRANGE', KEY.leases, 0, args.most - 1, 'WITHSCORES')
  for i = 1, #leases, 2 do
    local waits = tonumber(leases[i + 1]) <= now or redis.call('SISMEMBER', KEY.parked, leases[i]) == 1
    local items = waits and redis.call('HGET', KEY['lease:'] .. leases[i], 'items')
    for _, run in ipairs(items and cjson.decode(items) or {}) do
      if not seen[run[1]] and #found < args.most then
        seen[run[1]] = true
        found[#found + 1] = run[1]
      end
    end
  end
  return found
end

-- Requests with ids that wait: the first in each line, those with retries, and those in groups.
local function note_ages()
  for _, source in ipairs(redis.call('ZRANGE', KEY.sources, 0, args.most - 1)) do
    local back, fresh = redis.call('ZRANGE', KEY['source:'] .. source .. ':line', 0, 0)[1], first_fresh(source)
    if back then note_age(back) end
    if fresh then note_age(fresh) end
  end
  for _, request in ipairs(redis.call('ZRANGE', KEY.retries, 0, args.most - 1)) do note_age(request) end
  for _, request in ipairs(requests_of_groups()) do note_age(request) end
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
  purge_calls = numbers(KEY['purges:quota']),
  purge_files = redis.call('ZCARD', KEY['purges:waiting']),
  receivers_failing = redis.call('HLEN', KEY['webhooks:resting']),
  workers = workers,
  refusals = refusals,
  account = hash(KEY.account),
  throttle = hash(KEY['limits:'] .. 'delete'),
  counted = numbers(KEY.metrics),
}), unpack(limits)}
