-- uses: base
-- Give a run back for a while: the next call is not due yet, or others are to have the place in the pool.
--
-- KEYS  1 prefix
-- ARGV  1 {run, token, wait_ms: until it is due again, why: for people, or '', failures: failed calls in a row}
-- Returns '1' if the run was still ours.
local args = cjson.decode(ARGV[1])
local run, token = args.run, args.token
local key = KEY['cleanup:'] .. 'run:' .. run
if redis.call('HGET', key, 'token') ~= token then return '0' end
redis.call('HDEL', key, 'token', 'lease_until')
redis.call('HSET', key, 'waits_for', args.why, 'failures', args.failures, 'deaths', 0)
redis.call('ZADD', KEY['cleanup:runs'], now_ms() + args.wait_ms, run)
return '1'
