-- uses: base
-- How a request enters the line of its source (see lines.lua).

local function line_key(source)
  return KEY['source:'] .. source .. ':line'
end

local function fresh_key(source)
  return KEY['source:'] .. source .. ':fresh'
end

local function enter_sources(source)
  if not redis.call('ZSCORE', KEY.sources, source) then
    redis.call('ZADD', KEY.sources, next_number(), source)
  end
end

-- Let new requests into line, by their sequences.
local function enter_fresh(source, sequences)
  in_slices('RPUSH', fresh_key(source), sequences)
  enter_sources(source)
end

-- Let a request back into line.
local function enter_line(request, source, sequence)
  redis.call('ZADD', line_key(source), sequence, request)
  enter_sources(source)
end

-- Let a request wait until the URLs of its files are looked up.
local function look_up(request, now)
  redis.call('ZADD', KEY.lookups, now, request)
end

-- Let a request into line whose hold or wait for approval has ended, after its URLs are looked up if it lacks some.
local function go_on(request, source, sequence, lookup, now)
  if lookup then look_up(request, now) else enter_line(request, source, sequence) end
end
