-- Counters and histograms of the account, in one hash whose fields are described in worker/metrics/reading.py.

local counted, observed = {}, {}

-- Add 1 to a counter; the operation calls `write_counted` at its end.
local function count_one(field)
  counted[field] = (counted[field] or 0) + 1
end

local function bucket_of(name, value)
  local bucket, bounds = 1, BUCKETS[name]
  while bounds[bucket] and value > bounds[bucket] do bucket = bucket + 1 end
  return bucket
end

-- Count a value of the histogram with this name; the operation calls `write_counted` at its end.
local function observe(name, value)
  local seen = observed[name] or {sum = 0}
  observed[name] = seen
  local bucket = bucket_of(name, value)
  seen[bucket] = (seen[bucket] or 0) + 1
  seen.sum = seen.sum + value
end

local function write_counted()
  for field, n in pairs(counted) do redis.call('HINCRBY', KEY.metrics, field, n) end
  for name, seen in pairs(observed) do
    for part, n in pairs(seen) do redis.call('HINCRBY', KEY.metrics, name .. ':' .. part, n) end
  end
  counted, observed = {}, {}
end

-- Count a call to ImageKit that took `ms`. Its status and the bucket of its duration share a field.
local function count_call(endpoint, status, ms, files)
  local field = 'calls:' .. endpoint .. ':' .. (status or 'none') .. ':' .. bucket_of('call_ms', ms)
  redis.call('HINCRBY', KEY.metrics, field, 1)
  redis.call('HINCRBY', KEY.metrics, 'call_ms:' .. endpoint, math.ceil(ms))
  if files > 0 then redis.call('HINCRBY', KEY.metrics, 'call_files:' .. files, 1) end
end
