-- uses: base, windows, health, metrics
-- Record what a response says about the API: its windows, a throttle, an outage, a refused key, or a success.
--
-- KEYS  1 prefix
-- ARGV  1 {endpoint, kind: ok | throttled | trouble | key_refused, reason: shown to people, reset_ms: how long a
--          throttle lasts, omitted if the API does not say, is_probe, call_id, late_ms: how much later than its slot
--          the call was sent, shows_health: whether its result counts toward the account's health, windows: announced
--          by the response, [[calls, interval ms]…], status: HTTP status, omitted if there was no response, elapsed_ms:
--          duration of the call, 0 if it was not made, files: number of ids in it}
-- Returns {ms for which the endpoint is paused from now on, ms since the account's last success or -1,
--          '1' if most calls succeed}
local WIDEN_EVERY_MS = 1000 -- calls sent before a 429 arrived tend to fail with it, and say nothing new

local args = cjson.decode(ARGV[1])
local endpoint, kind = args.endpoint, args.kind
local limits, log = KEY['limits:'] .. endpoint, KEY['calls:'] .. endpoint
local now = now_ms()

-- The log records when calls were sent, and this one was sent later than its slot.
if args.late_ms > 0 then redis.call('ZADD', log, 'XX', 'INCR', args.late_ms, args.call_id) end

for _, window in ipairs(args.windows) do
  redis.call('HSET', limits, 'window:' .. window[2], window[1] .. ' ' .. now)
end

local known = redis.call('HMGET', limits, 'margin', 'throttled_until', 'throttles', 'widened_at')
local account = read_account()
local margin, throttled_until = tonumber(known[1] or MARGIN_FIRST), tonumber(known[2] or 0)
if kind == 'throttled' then
  local streak = redis.call('HINCRBY', limits, 'throttles', 1)
  local pause = args.reset_ms or math.min(60000, 500 * 2 ^ math.min(streak, 10))
  throttled_until = math.max(now + math.floor(pause), throttled_until)
  redis.call('HSET', limits, 'throttled_until', throttled_until, 'throttle_reason', args.reason)
  if now - tonumber(known[4] or 0) >= WIDEN_EVERY_MS then
    redis.call('HSET', limits, 'margin', math.min(MARGIN_MOST, margin * 1.25 + 1), 'widened_at', now)
  end
  redis.call('PEXPIRE', limits, math.max(LEARNED_MS, pause) * 2)
elseif kind == 'ok' then
  redis.call('HSET', limits, 'margin', math.max(MARGIN_LEAST, margin * 0.9995))
  if known[3] then redis.call('HDEL', limits, 'throttles') end
  if endpoint == 'delete' then note_success(account, now) end
else
  note_trouble(kind, args.reason, args.is_probe, now)
  account = read_account()
end

if args.elapsed_ms > 0 then count_call(endpoint, args.status, args.elapsed_ms, args.files) end

if args.shows_health and (kind == 'ok' or kind == 'trouble') then note_health(account, kind == 'ok') end
return describe_health(endpoint, account, throttled_until, now)
