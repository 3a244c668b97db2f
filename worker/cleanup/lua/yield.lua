-- uses: base
-- Return a run until it is due again: its next call has no slot yet, or other work needs the thread.
--
-- KEYS  1 prefix
-- ARGV  1 {run, token, wait_ms, why: shown to people, '' for none, failures: consecutive failed calls}
-- Returns '1' if the token still held the run, else '0'.
local args = cjson.decode(ARGV[1])
local run, token = args.run, args.token
local key = KEY['cleanup:'] .. 'run:' .. run
if redis.call('HGET', key, 'token') ~= token then return '0' end
redis.call('HDEL', key, 'token', 'lease_until')
redis.call('HSET', key, 'waits_for', args.why, 'failures', args.failures, 'deaths', 0)
redis.call('ZADD', KEY['cleanup:runs'], now_ms() + args.wait_ms, run)
return '1'
