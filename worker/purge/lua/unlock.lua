-- uses: base
-- Let another worker plan.
--
-- KEYS  1 prefix
-- ARGV  1 {token, rest: whether files wait for others again before they are planned}
-- Returns nothing.
local args = cjson.decode(ARGV[1])
if redis.call('GET', KEY['purges:lock']) == args.token then
  redis.call('DEL', KEY['purges:lock'])
  if args.rest then redis.call('SET', KEY['purges:since'], now_ms(), 'NX') end
end
