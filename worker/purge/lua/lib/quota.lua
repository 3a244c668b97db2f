-- uses: base
-- The quota of purge calls in a calendar month.

local function calls_in(month) return tonumber(redis.call('HGET', KEY['purges:quota'], month) or 0) end

-- Count a call. Returns whether it may be made: false if the quota is used up.
local function spend(month, quota)
  if calls_in(month) >= quota then return false end
  redis.call('HINCRBY', KEY['purges:quota'], month, 1)
  return true
end
