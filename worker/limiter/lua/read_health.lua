-- uses: base, health
-- Read when a call of the account last succeeded, and whether most do. Changes nothing.
--
-- KEYS  1 prefix
-- ARGV  1 {endpoint}
-- Returns {ms for which the endpoint is paused, ms since the account's last success or -1, '1' if most calls succeed}
local endpoint = cjson.decode(ARGV[1]).endpoint
local throttled_until = redis.call('HGET', KEY['limits:'] .. endpoint, 'throttled_until')
return describe_health(endpoint, read_account(), throttled_until, now_ms())
