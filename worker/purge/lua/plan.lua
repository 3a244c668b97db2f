-- uses: base, quota
-- Move waiting files to a purge, which counts as a call of the month; one of many files is filled in several steps.
--
-- KEYS  1 prefix
-- ARGV  1 {token: of the lock, lock_ms, purge: its id, url, state, error: '' for none, files: ["<file id> <request
--          id>"…], is_last: whether no more files follow, month, quota}
-- Returns ok | no_quota | lost (another worker plans)
local FILL_MS = 60000 -- how long a purge waits for its other files, if the worker that plans dies
local args, now = cjson.decode(ARGV[1]), now_ms()
local key, files = KEY['purge:'] .. args.purge, KEY['purge:'] .. 'files:' .. args.purge
if redis.call('GET', KEY['purges:lock']) ~= args.token then return 'lost' end
redis.call('PEXPIRE', KEY['purges:lock'], args.lock_ms)

if redis.call('EXISTS', key) == 0 then
  local is_paid = args.state == PURGE.READY
  if is_paid and not spend(args.month, args.quota) then return 'no_quota' end
  redis.call('HSET', key, 'url', args.url, 'state', args.state, 'error', args.error, 'planned_at', now, 'files', 0,
    'paid', is_paid and 1 or 0)
end
local moved = {}
for _, file in ipairs(args.files) do
  if redis.call('ZREM', KEY['purges:waiting'], file) == 1 then moved[#moved + 1] = file end
end
in_slices('RPUSH', files, moved)
redis.call('HINCRBY', key, 'files', #moved)
redis.call('ZADD', KEY['purges:open'], args.is_last and now or now + FILL_MS, args.purge)
return 'ok'
