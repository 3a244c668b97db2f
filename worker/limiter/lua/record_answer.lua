-- uses: base, windows, trouble
-- Learn from an answer of the API: its windows, a throttle, an outage or a refused key, or that all is well again.
--
-- KEYS  1 prefix
-- ARGV  1 JSON object:
--       endpoint
--       kind              ok | throttled | trouble | key_refused
--       reason            for people
--       reset_ms          how long a throttle lasts, where the API says so
--       probe             whether the call was a probe
--       first_margin_ms   see acquire.lua
--       call              id of the call, or ''
--       late_ms           by which the call was sent later than its slot
--       shows_health      whether the call had no more reason to fail than any other
--       learned           windows that the answer names: [[limit, interval ms]…]
-- Returns {ms for which the endpoint is paused from now on, ms since the last success of the account or -1,
--          '1' if most calls go well}
local args = cjson.decode(ARGV[1])
local endpoint, kind = args.endpoint, args.kind
local limits, account = KEY['limits:'] .. endpoint, KEY.account
local now = now_ms()

-- The log is to hold when calls were sent: one that was late leaves less room behind it than its slot says.
local log = KEY['calls:'] .. endpoint
if redis.call('ZSCORE', log, args.call) then redis.call('ZINCRBY', log, args.late_ms, args.call) end

for _, window in ipairs(args.learned) do
  redis.call('HSET', limits, 'window:' .. window[2], window[1] .. ' ' .. now)
end

if args.shows_health and (kind == 'ok' or kind == 'trouble') then note_health(kind == 'ok') end

local margin = margin_of(limits, args.first_margin_ms)
if kind == 'throttled' then
  redis.call('HSET', limits, 'margin', math.min(MARGIN_MOST, margin * 1.5 + 2))
  local streak = redis.call('HINCRBY', limits, 'throttles', 1)
  local pause = args.reset_ms or math.min(60000, 500 * 2 ^ math.min(streak, 10))
  local ends = math.max(now + math.floor(pause), tonumber(redis.call('HGET', limits, 'throttled_until') or 0))
  redis.call('HSET', limits, 'throttled_until', ends, 'throttle_reason', args.reason)
  redis.call('PEXPIRE', limits, math.max(LEARNED_MS, pause) * 2)
elseif kind == 'ok' then
  redis.call('HSET', limits, 'margin', math.max(MARGIN_LEAST, margin * 0.998))
  redis.call('HDEL', limits, 'throttles')
  if endpoint == 'delete' then
    redis.call('HSET', account, 'last_success', now)
    redis.call('HDEL', account, 'trouble', 'trouble_kind', 'trouble_streak', 'trouble_level', 'trouble_until', 'trouble_since')
  end
else
  note_trouble(kind, args.reason, args.probe, now)
end
return pause_and_success(endpoint, now)
