-- uses: base
-- Find the accounts of which something is due.
--
-- KEYS  1 prefix   2… prefixes of the accounts
-- ARGV  1 {set: name of a sorted set whose scores are due times, ms}
-- Returns the positions of the accounts in KEYS, without the first: 1 is KEYS[2].
local args, now, found = cjson.decode(ARGV[1]), now_ms(), {}
for i = 1, #KEYS - 1 do
  use_account(KEYS[1 + i])
  if #redis.call('ZRANGEBYSCORE', KEY[args.set], '-inf', now, 'LIMIT', 0, 1) > 0 then found[#found + 1] = i end
end
return found
