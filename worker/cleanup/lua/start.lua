-- uses: base, audit
-- Start a run of a cleanup rule, by its schedule or by hand: at most one for a due time, and one at a time.
--
-- KEYS  1 prefix
-- ARGV  1 rule   2 run id   3 due time, ms, or '' by hand   4 schedule of the rule, '' while it is disabled
--       5 how late a run may start, ms, or '' for any   6 words of the rule, as a fingerprint   7 who starts it
--       8 how long the record of a run is kept, ms
-- Returns started | first (the schedule is new: it begins now) | nothing | off | busy | undecided | missed
local rule, run, by = ARGV[1], ARGV[2], ARGV[7]
local rule_key, run_key = KEY['cleanup:'] .. 'rule:' .. rule, KEY['cleanup:'] .. 'run:' .. run
local history = KEY['cleanup:'] .. 'history:' .. rule
local now = now_ms()

local about = redis.call('HMGET', rule_key, 'schedule', 'last_due', 'run', 'request')
local due = tonumber(ARGV[3])

if due then
  if about[1] ~= ARGV[4] then
    redis.call('HSET', rule_key, 'schedule', ARGV[4], 'last_due', now)
    return 'first'
  end
  if ARGV[4] == '' or due <= tonumber(about[2]) or due > now then return 'nothing' end
  redis.call('HSET', rule_key, 'last_due', due)
end

local function why_not()
  if redis.call('HGET', KEY.cleanup, 'off') then return 'off', 'cleanup is switched off' end
  if about[3] and redis.call('ZSCORE', KEY['cleanup:runs'], about[3]) then
    return 'busy', 'run ' .. about[3] .. ' is still going'
  end
  local state = about[4] and redis.call('HGET', request_key(about[4]), 'state')
  if state and not FINAL[state] then return 'undecided', 'request ' .. about[4] .. ' of an earlier run is not done' end
  if due and ARGV[5] ~= '' and now - due > tonumber(ARGV[5]) then return 'missed', 'its time was missed' end
end

local verdict, why = why_not()
if verdict and not due then return verdict end
if redis.call('EXISTS', run_key) == 1 then return 'nothing' end
if verdict then
  -- The same reason again and again would push the real runs out of the history.
  local last = redis.call('LINDEX', history, 0)
  if last and redis.call('HGET', KEY['cleanup:'] .. 'run:' .. last, 'why') == why then return verdict end
end
redis.call('HSET', run_key, 'rule', rule, 'due', due or now, 'started_at', now, 'by', by, 'words', ARGV[6])
redis.call('LPUSH', history, run)
redis.call('LTRIM', history, 0, 99)
if verdict then
  redis.call('HSET', run_key, 'outcome', 'skipped', 'why', why, 'ended_at', now)
  redis.call('PEXPIRE', run_key, ARGV[8])
  write_audit('skipped', run, 'cleanup:' .. rule, by, verdict, 0, {why = why})
  return verdict
end
redis.call('HSET', rule_key, 'run', run)
redis.call('ZADD', KEY['cleanup:runs'], now, run)
return 'started'
