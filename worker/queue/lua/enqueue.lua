-- uses: base, enqueueing
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
local last, place, stream, FIRST_ID = ARGV[5] == '1', ARGV[6], ARGV[12], 13
local asked = {id = ARGV[1], source = ARGV[2], reason = ARGV[3], hold_ms = tonumber(ARGV[4]), canvas = ARGV[8],
  origin = ARGV[10], guard = ARGV[11], file_ids = {unpack(ARGV, FIRST_ID)}}
local request, now = asked.id, now_ms()
local tally = new_tally()
if place == 'whole' and #asked.file_ids > 0 then
  local reply = enqueue_whole(tally, asked, KEYS[2], ARGV[9], now)
  write_tally(tally)
  return reply
end

local key, waiting = request_key(request), request_key(request, 'waiting')
local incoming = request_key(request, 'incoming') .. ':' .. stream
local seen = request_key(request, 'seen') .. ':' .. stream

local about = redis.call('HMGET', key, 'state', 'total', 'stream:' .. stream)
if about[1] and about[1] ~= STATE.OPEN then return {about[1], '0', tonumber(about[2]), ''} end
if place == 'later' and not about[3] then return {'', '0', 0, ''} end
if #asked.file_ids == 0 then return {STATE.OPEN, '0', 0, ''} end

-- The ids of the chunk that no chunk of the stream had before.
local function new_ids()
  local new = {}
  for i, known in ipairs(in_slices('SMISMEMBER', seen, asked.file_ids)) do
    if known == 0 then new[#new + 1] = asked.file_ids[i] end
  end
  return new
end

-- The first to write is a command that a full server refuses: after any other write it would let all the rest pass.
local ids = new_ids()
in_slices('SADD', seen, ids)
in_slices('RPUSH', incoming, ids)
if not last then
  if not about[1] then redis.call('HSET', key, 'state', STATE.OPEN, unpack(described(asked, now))) end
  redis.call('HSET', key, 'stream:' .. stream, '1')
  for _, part in ipairs({key, incoming, seen}) do redis.call('PEXPIRE', part, ARGV[7]) end
  return {STATE.OPEN, '0', redis.call('LLEN', incoming), ''}
end
local total = redis.call('LLEN', incoming)
redis.call('UNLINK', seen)
redis.call('RENAME', incoming, waiting)
redis.call('PERSIST', waiting)
if about[1] then redis.call('DEL', key) end
local reply = seal_and_tell(tally, asked, total, KEYS[2], ARGV[9], now, next_number())
write_tally(tally)
return reply
