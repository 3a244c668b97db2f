-- uses: base, audit, enqueueing, guards
-- End a run. The outcome `release` seals its request, which enters the line, is on hold, or waits for approval when a
-- guard stops it. Any other outcome discards the collected ids and deletes nothing.
--
-- KEYS  1 prefix
-- ARGV  1 {run, token, request, outcome: release | dry_run | failed | stopped | abandoned, why: '' for none, hold_ms,
--          guard: {max_files, usual_factor}, omitted for none, hold_first: whether the rule's first run since its last
--          change needs approval, share: why max_share requires approval, '' if it does not, callback: URL for the
--          request's webhook, omitted for none, keep_ms: how long the record of a run is kept}
-- Returns {outcome: released | held (waits for approval) | nothing | dry_run | failed | stopped | abandoned |
--          lost (another worker has the run), why, number of files}
local args = cjson.decode(ARGV[1])
local run, request, outcome, why = args.run, args.request, args.outcome, args.why
local key, about_key = KEY['cleanup:'] .. 'run:' .. run, request_key(request)
local waiting, seen, urls = request_key(request, 'waiting'), request_key(request, 'seen'), request_key(request, 'purge')
local now = now_ms()

local about = redis.call('HMGET', key, 'token', 'rule', 'words', 'outcome', 'files', 'why', 'by')
local rule, words = about[2], about[3]
local total = tonumber(about[5] or 0)
if about[4] then return {about[4], about[6] or '', total} end
if about[1] ~= args.token then return {'lost', '', 0} end
local source, rule_key = 'cleanup:' .. rule, KEY['cleanup:'] .. 'rule:' .. rule

if outcome == 'release' and redis.call('HGET', KEY.cleanup, 'off') then
  outcome, why = 'stopped', 'cleanup was switched off'
end
if outcome == 'release' and redis.call('LLEN', waiting) ~= total then
  outcome, why = 'failed', 'the collected ids are gone'
end
if outcome == 'release' and total == 0 then
  outcome = 'nothing'
  remember_size(source, 0)
end

local function why_held()
  local reasons = args.guard and beyond_guard(args.guard, source, total) or {}
  if args.share ~= '' then reasons[#reasons + 1] = args.share end
  local approved = redis.call('HGET', rule_key, 'approved')
  if args.hold_first and approved ~= words then
    reasons[#reasons + 1] = approved and 'the first run since the words of the rule were changed'
      or 'the first run of this rule'
  end
  return table.concat(reasons, '; ')
end

if outcome == 'release' then
  why = why_held()
  redis.call('UNLINK', seen)
  redis.call('PERSIST', about_key)
  redis.call('PERSIST', waiting)
  redis.call('PERSIST', urls)
  local known = redis.call('HMGET', about_key, 'reason', 'origin', 'purge')
  local about_request = {source = source, reason = known[1] or nil, origin = known[2] or nil, purge = known[3] or nil}
  local fields = args.callback and {'callback', args.callback} or {}
  seal(request, about_request, fields, total, args.hold_ms, why, now)
  redis.call('HSET', rule_key, 'request', request)
  redis.call('HSET', key, 'request', request)
  outcome = why == '' and 'released' or 'held'
  if why == '' then
    remember_size(source, total)
    redis.call('HSET', rule_key, 'approved', words)
  end
else
  if redis.call('HGET', about_key, 'state') == STATE.OPEN then redis.call('UNLINK', about_key, waiting, seen, urls) end
  write_audit('run', run, source, about[7] or '', outcome, total, {why = why ~= '' and why or nil})
end

redis.call('HSET', key, 'outcome', outcome, 'why', why, 'ended_at', now)
redis.call('HDEL', key, 'token', 'lease_until', 'place', 'waits_for', 'deaths')
redis.call('PEXPIRE', key, args.keep_ms)
redis.call('ZREM', KEY['cleanup:runs'], run)
if redis.call('HGET', rule_key, 'run') == run then redis.call('HDEL', rule_key, 'run') end
return {outcome, why, total}
