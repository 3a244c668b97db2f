-- uses: base
-- Renew the leases of claims in flight. A lease that was taken over stays lost.
--
-- KEYS  1 prefix
-- ARGV  1 {lease_ms}   2… claim tokens
-- Returns the number of leases renewed.
local prolonged = 0
local until_ms = now_ms() + cjson.decode(ARGV[1]).lease_ms
for i = 2, #ARGV do
  if redis.call('ZSCORE', KEY.leases, ARGV[i]) then
    redis.call('ZADD', KEY.leases, until_ms, ARGV[i])
    prolonged = prolonged + 1
  end
end
return prolonged
