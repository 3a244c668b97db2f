-- uses: base
-- Become the one worker that plans, for a while.
--
-- KEYS  1 prefix
-- ARGV  1 {token, lock_ms}
-- Returns 1 if the token has the lock, else 0.
local args = cjson.decode(ARGV[1])
if not redis.call('SET', KEY['purges:lock'], args.token, 'NX', 'PX', args.lock_ms) then return 0 end
redis.call('DEL', KEY['purges:since'])
return 1
