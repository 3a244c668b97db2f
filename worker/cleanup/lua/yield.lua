-- uses: base
-- Give a run back for a while: the next call is not due yet, or others are to have the place in the pool.
--
-- KEYS  1 prefix
-- ARGV  1 run id   2 token   3 ms until it is due again   4 why, for people, or ''   5 failed calls in a row
-- Returns '1' if the run was still ours.
local run, token = ARGV[1], ARGV[2]
local key = KEY['cleanup:'] .. 'run:' .. run
if redis.call('HGET', key, 'token') ~= token then return '0' end
redis.call('HDEL', key, 'token', 'lease_until')
redis.call('HSET', key, 'waits_for', ARGV[4], 'failures', ARGV[5], 'deaths', 0)
redis.call('ZADD', KEY['cleanup:runs'], now_ms() + ARGV[3], run)
return '1'
