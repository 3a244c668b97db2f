-- uses: base, windows, trouble
-- Learn from an answer of the API: its windows, a throttle, an outage or a refused key, or that all is well again.
--
-- KEYS  1 prefix
-- ARGV  1 endpoint   2 kind: ok | throttled | trouble | key_refused   3 reason, for people
--       4 ms that a throttle lasts, or ''   5 '1' if the call was a probe
--       6 first margin, ms   7 call id   8 ms by which the call was sent later than its slot
--       9 '1' if the call shows the health of the API: it had no more reason to fail than any other
--       10… windows learned: limit, interval ms, …
-- Returns {ms for which the endpoint is paused from now on, ms since the last success of the account or -1,
--          '1' if most calls go well}
local endpoint, kind, reason = ARGV[1], ARGV[2], ARGV[3]
local limits, account = KEY['limits:'] .. endpoint, KEY.account
local now = now_ms()

-- The log is to hold when calls were sent: one that was late leaves less room behind it than its slot says.
local log = KEY['calls:'] .. endpoint
if redis.call('ZSCORE', log, ARGV[7]) then redis.call('ZINCRBY', log, ARGV[8], ARGV[7]) end

for i = 10, #ARGV, 2 do
  redis.call('HSET', limits, 'window:' .. ARGV[i + 1], ARGV[i] .. ' ' .. now)
end

if ARGV[9] == '1' and (kind == 'ok' or kind == 'trouble') then note_health(kind == 'ok') end

local margin = margin_of(limits, tonumber(ARGV[6]))
if kind == 'throttled' then
  redis.call('HSET', limits, 'margin', math.min(MARGIN_MOST, margin * 1.5 + 2))
  local streak = redis.call('HINCRBY', limits, 'throttles', 1)
  local pause = tonumber(ARGV[4]) or math.min(60000, 500 * 2 ^ math.min(streak, 10))
  local ends = math.max(now + math.floor(pause), tonumber(redis.call('HGET', limits, 'throttled_until') or 0))
  redis.call('HSET', limits, 'throttled_until', ends, 'throttle_reason', reason)
  redis.call('PEXPIRE', limits, math.max(LEARNED_MS, pause) * 2)
elseif kind == 'ok' then
  redis.call('HSET', limits, 'margin', math.max(MARGIN_LEAST, margin * 0.998))
  redis.call('HDEL', limits, 'throttles')
  if endpoint == 'delete' then
    redis.call('HSET', account, 'last_success', now)
    redis.call('HDEL', account, 'trouble', 'trouble_kind', 'trouble_streak', 'trouble_level', 'trouble_until', 'trouble_since')
  end
else
  note_trouble(kind, reason, ARGV[5] == '1', now)
end
return pause_and_success(endpoint, now)
