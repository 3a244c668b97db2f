-- uses: base
-- Let another worker plan.
--
-- KEYS  1 prefix
-- ARGV  1 {token}
-- Returns nothing.
local args = cjson.decode(ARGV[1])
if redis.call('GET', KEY['purges:lock']) == args.token then redis.call('DEL', KEY['purges:lock']) end
