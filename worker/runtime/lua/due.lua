-- uses: base
-- Find the accounts of which something is due.
--
-- KEYS  1 prefix   2… prefixes of the accounts
-- ARGV  1 {sets: names of sorted sets whose scores are due times, ms; key: name of a key that is due if it exists, may
--          be omitted}
-- Returns the positions of the accounts in KEYS, without the first: 1 is KEYS[2].
local args, now, found = cjson.decode(ARGV[1]), now_ms(), {}

local function is_due()
  for _, set in ipairs(args.sets) do
    if #redis.call('ZRANGEBYSCORE', KEY[set], '-inf', now, 'LIMIT', 0, 1) > 0 then return true end
  end
  return args.key and redis.call('EXISTS', KEY[args.key]) == 1
end

for i = 1, #KEYS - 1 do
  use_account(KEYS[1 + i])
  if is_due() then found[#found + 1] = i end
end
return found
