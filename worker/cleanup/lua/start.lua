-- uses: base, audit
-- Start a run of a cleanup rule, scheduled or manual: at most one per due time, and one at a time.
--
-- KEYS  1 prefix
-- ARGV  1 {rule, run, due: ms, omitted for a manual run, timing: the rule's schedule, '' while it is disabled,
--          latest_ms: how late a run may start, omitted for no bound, words: fingerprint of the rule, by: who starts
--          it, keep_ms: how long the record of a run is kept}
-- Returns started | first (a new schedule, which counts from now) | nothing (not due, or this run exists) | off
--         (cleanup is switched off) | busy (a run is active) | undecided (a request of an earlier run is open) |
--         missed
local args = cjson.decode(ARGV[1])
local rule, run, by, due = args.rule, args.run, args.by, args.due
local rule_key, run_key = KEY['cleanup:'] .. 'rule:' .. rule, KEY['cleanup:'] .. 'run:' .. run
local history = KEY['cleanup:'] .. 'history:' .. rule
local now = now_ms()

local about = redis.call('HMGET', rule_key, 'schedule', 'last_due', 'run', 'request')

if due then
  if about[1] ~= args.timing then
    redis.call('HSET', rule_key, 'schedule', args.timing, 'last_due', now)
    return 'first'
  end
  if args.timing == '' or due <= tonumber(about[2]) or due > now then return 'nothing' end
  redis.call('HSET', rule_key, 'last_due', due)
end

local function why_not()
  if redis.call('HGET', KEY.cleanup, 'off') then return 'off', 'cleanup is switched off' end
  if about[3] and redis.call('ZSCORE', KEY['cleanup:runs'], about[3]) then
    return 'busy', 'run ' .. about[3] .. ' is still going'
  end
  local state = about[4] and redis.call('HGET', request_key(about[4]), 'state')
  if state and not FINAL[state] then return 'undecided', 'request ' .. about[4] .. ' of an earlier run is not done' end
  if due and args.latest_ms and now - due > args.latest_ms then return 'missed', 'its time was missed' end
end

local obstacle, why = why_not()
if obstacle and not due then return obstacle end
if redis.call('EXISTS', run_key) == 1 then return 'nothing' end
if obstacle then
  -- Recording the same reason repeatedly would push the real runs out of the history.
  local last = redis.call('LINDEX', history, 0)
  if last and redis.call('HGET', KEY['cleanup:'] .. 'run:' .. last, 'why') == why then return obstacle end
end
redis.call('HSET', run_key, 'rule', rule, 'due', due or now, 'started_at', now, 'by', by, 'words', args.words)
redis.call('LPUSH', history, run)
redis.call('LTRIM', history, 0, 99)
if obstacle then
  redis.call('HSET', run_key, 'outcome', 'skipped', 'why', why, 'ended_at', now)
  redis.call('PEXPIRE', run_key, args.keep_ms)
  write_audit('skipped', run, 'cleanup:' .. rule, by, obstacle, 0, {why = why})
  return obstacle
end
redis.call('HSET', rule_key, 'run', run)
redis.call('ZADD', KEY['cleanup:runs'], now, run)
return 'started'
