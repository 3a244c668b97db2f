-- Functions that most operations use. Times are milliseconds of the Redis server's clock.

-- Let KEY name the keys of another account from now on.
local function use_account(prefix)
  PREFIX = prefix
  for name in pairs(KEY) do KEY[name] = nil end
end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function request_key(request, part)
  return KEY['request:'] .. (part or 'about') .. ':' .. request
end

local function next_number()
  return redis.call('INCR', KEY.sequence)
end

local SLICE = 2000 -- values per command: Lua's stack takes a few thousand

-- Call `command key values…` in slices. Returns the joined replies of a command that returns a list.
local function in_slices(command, key, values)
  if #values <= SLICE then return #values > 0 and redis.call(command, key, unpack(values)) or {} end
  local answers = {}
  for first = 1, #values, SLICE do
    local part = redis.call(command, key, unpack(values, first, math.min(first + SLICE - 1, #values)))
    if type(part) == 'table' then
      for _, answer in ipairs(part) do answers[#answers + 1] = answer end
    end
  end
  return answers
end

-- Add n to a counter in a hash, and remove the counter when it reaches 0.
local function count(key, field, n)
  if n == 0 then return end
  if redis.call('HINCRBY', key, field, n) == 0 then redis.call('HDEL', key, field) end
end

local function split_field(field)
  local gap = string.find(field, ' ', 1, true)
  return string.sub(field, 1, gap - 1), string.sub(field, gap + 1)
end
