-- uses: base, requests, guards
-- Accept ids of a request: all at once, or as a stream, chunk by chunk until the last one seals it.
-- An unsealed request deletes nothing and expires; a sealed one is never changed by a second call. Each stream collects
-- for itself: one that broke off leaves nothing to another with the same request id, and of several the first to end
-- makes the request, with its own ids, source and reason.
--
-- KEYS  1 prefix   2 where the first result goes, or none
-- ARGV  1 request id   2 source   3 reason, or ''   4 hold, ms (0: none)   5 '1' when this chunk is the last
--       6 its place: 'whole' (the first and the last), 'first', or 'later'
--       7 how long an unsealed request lives, ms   8 canvas, JSON or ''   9 the first result, or ''
--       10 who asks: user or program @ host, or ''
--       11 guard of the source: '', or "max_files usual_factor max_share" with 0 for none
--       12 token of the stream   13… file ids, each once
-- Returns {state after the call, '1' if this call sealed it, number of ids, why it is held for approval or ''}; state is
--         '' when what a later chunk was to be added to is gone: expired, cancelled, or lost
local request, source, hold, last, place = ARGV[1], ARGV[2], tonumber(ARGV[4]), ARGV[5] == '1', ARGV[6]
local stream, FIRST_ID = ARGV[12], 13
local key, waiting = request_key(request), request_key(request, 'waiting')
local incoming = request_key(request, 'incoming') .. ':' .. stream
local seen = request_key(request, 'seen') .. ':' .. stream
local now = now_ms()

local about = redis.call('HMGET', key, 'state', 'total', 'stream:' .. stream)
if about[1] and about[1] ~= STATE.OPEN then return {about[1], '0', tonumber(about[2]), ''} end
if place == 'later' and not about[3] then return {'', '0', 0, ''} end
if #ARGV < FIRST_ID then return {STATE.OPEN, '0', 0, ''} end

local function describe()
  local fields = {'state', STATE.OPEN, 'source', source, 'enqueued_at', now}
  if ARGV[3] ~= '' then fields[#fields + 1], fields[#fields + 2] = 'reason', ARGV[3] end
  if ARGV[8] ~= '' then fields[#fields + 1], fields[#fields + 2] = 'canvas', ARGV[8] end
  if ARGV[10] ~= '' then fields[#fields + 1], fields[#fields + 2] = 'origin', ARGV[10] end
  redis.call('HSET', key, unpack(fields))
end

-- The ids of the chunk that no chunk of the stream had before.
local function new_ids()
  local ids, new = {unpack(ARGV, FIRST_ID)}, {}
  for i, known in ipairs(in_slices('SMISMEMBER', seen, ids)) do
    if known == 0 then new[#new + 1] = ids[i] end
  end
  return new
end

local function add_to_stream()
  local ids = new_ids()
  in_slices('SADD', seen, ids)
  in_slices('RPUSH', incoming, ids)
end

-- The first to write is a command that a full server refuses: after any other write it would let all the rest pass.
local total = #ARGV - FIRST_ID + 1
if place == 'whole' then
  in_slices('RPUSH', waiting, {unpack(ARGV, FIRST_ID)})
else
  add_to_stream()
  if not last then
    if not about[1] then describe() end
    redis.call('HSET', key, 'stream:' .. stream, '1')
    for _, part in ipairs({key, incoming, seen}) do redis.call('PEXPIRE', part, ARGV[7]) end
    return {STATE.OPEN, '0', redis.call('LLEN', incoming), ''}
  end
  total = redis.call('LLEN', incoming)
  redis.call('UNLINK', seen)
  redis.call('RENAME', incoming, waiting)
  redis.call('PERSIST', waiting)
end
if about[1] then redis.call('DEL', key) end
describe()

local approval = ''
if ARGV[11] ~= '' then
  local max_files, usual_factor, max_share = string.match(ARGV[11], '^(%S+) (%S+) (%S+)$')
  local reasons = beyond_guard(source, total, tonumber(max_files), tonumber(usual_factor))
  approval = table.concat(beyond_share(reasons, total, tonumber(max_share)), '; ')
  if approval == '' then remember_size(source, total) end
end
local function given(text) return text ~= '' and text or nil end
seal(request, {source = source, reason = given(ARGV[3]), origin = given(ARGV[10])}, total, hold, approval, now)
if KEYS[2] then
  redis.call('SET', KEYS[2], ARGV[9])
  redis.call('PUBLISH', KEYS[2], ARGV[9])
else
  -- Whoever enqueued may die before it publishes that the request is there.
  redis.call('SADD', KEY.changed, request)
end
return {STATE.QUEUED, '1', total, approval}
