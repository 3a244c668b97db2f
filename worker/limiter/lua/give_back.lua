-- Return the slot of a call that is not made.
--
-- KEYS  1 prefix
-- ARGV  1 {endpoint, call_id}
-- Returns 1 if there was one.
local args = cjson.decode(ARGV[1])
return redis.call('ZREM', KEY['calls:'] .. args.endpoint, args.call_id)
