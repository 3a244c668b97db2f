-- uses: base
-- Prolong the leases of claims whose call is in the air. A token whose lease was taken over stays lost.
--
-- KEYS  1 prefix
-- ARGV  1 lease, ms   2… tokens
-- Returns the number of leases prolonged.
local prolonged = 0
local until_ms = now_ms() + tonumber(ARGV[1])
for i = 2, #ARGV do
  if redis.call('HGET', KEY['lease:'] .. ARGV[i], 'held') == '1' then
    redis.call('ZADD', KEY.leases, until_ms, ARGV[i])
    prolonged = prolonged + 1
  end
end
return prolonged
