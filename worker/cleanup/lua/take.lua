-- uses: base
-- Lease a run to a worker. A run whose collected ids have expired starts over. `deaths` counts consecutive leases that
-- ended without a page or a yield.
--
-- KEYS  1 prefix
-- ARGV  1 {run, token, lease_ms, request}
-- Returns the run's fields and values, then '1' while cleanup is off, else '0'; {} when the run has ended or is leased
--         to another worker.
local args = cjson.decode(ARGV[1])
local run, token = args.run, args.token
local key = KEY['cleanup:'] .. 'run:' .. run
local now = now_ms()

if not redis.call('ZSCORE', KEY['cleanup:runs'], run) then return {} end
local about = redis.call('HMGET', key, 'token', 'lease_until', 'files')
if about[1] and about[1] ~= token and tonumber(about[2]) > now then return {} end
if tonumber(about[3] or 0) > 0 and redis.call('EXISTS', request_key(args.request)) == 0 then
  redis.call('HDEL', key, 'place', 'pages', 'files', 'bytes', 'oldest', 'newest', 'paths', 'excluded')
end
redis.call('HSET', key, 'token', token, 'lease_until', now + args.lease_ms)
redis.call('HINCRBY', key, 'deaths', 1)
redis.call('ZADD', KEY['cleanup:runs'], now + args.lease_ms, run)
local reply = redis.call('HGETALL', key)
reply[#reply + 1] = redis.call('HGET', KEY.cleanup, 'off') and '1' or '0'
return reply
