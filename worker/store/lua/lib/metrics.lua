-- Counters and histograms of the account, in one hash whose fields are described in worker/metrics/reading.py.

local counted = {}

-- Add n to a counter; the operation calls `write_counted` at its end.
local function add(field, n)
  counted[field] = (counted[field] or 0) + n
end

-- Count a value of a histogram whose bounds are BUCKETS[name]; `field` is the start of its fields.
local function observe(name, field, value)
  local bucket, bounds = 1, BUCKETS[name]
  while bounds[bucket] and value > bounds[bucket] do bucket = bucket + 1 end
  add(field .. ':' .. bucket, 1)
  add(field .. ':sum', value)
end

local function write_counted()
  for field, n in pairs(counted) do redis.call('HINCRBY', KEY.metrics, field, n) end
  counted = {}
end
