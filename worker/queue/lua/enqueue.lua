-- uses: base, requests, guards
-- Accept ids of a request: all at once, or as a stream, chunk by chunk until the last one seals it.
-- An unsealed request deletes nothing and expires; a sealed one is never changed by a second call. Each stream collects
-- for itself: one that broke off leaves nothing to another with the same request id, and of several the first to end
-- makes the request, with its own ids, source and reason.
--
-- KEYS  1 prefix   2 where the first result goes, or none
-- ARGV  1 JSON object:
--       request           id of the request
--       source
--       reason            for people; may be absent
--       hold_ms           undo window, 0 for none
--       last              whether this chunk is the last
--       place             of the chunk: whole (the first and the last), first, or later
--       unsealed_ttl_ms   how long an unsealed request is kept
--       canvas            what Celery runs afterwards, JSON; may be absent
--       early_result      value for KEYS[2]; absent without it
--       origin            who asks: user or program @ host; may be absent
--       guard             of the source: {max_files, usual_factor, max_share}, 0 for no bound; may be absent
--       stream            token of the stream
--       2… file ids, each once
-- Returns {state after the call, '1' if this call sealed it, number of ids, why it is held for approval or ''}; state is
--         '' when what a later chunk was to be added to is gone: expired, cancelled, or lost
local args, FIRST_ID = cjson.decode(ARGV[1]), 2
local request, source, place, stream = args.request, args.source, args.place, args.stream
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
  for _, name in ipairs({'reason', 'canvas', 'origin'}) do
    if args[name] then fields[#fields + 1], fields[#fields + 2] = name, args[name] end
  end
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
  if not args.last then
    if not about[1] then describe() end
    redis.call('HSET', key, 'stream:' .. stream, '1')
    for _, part in ipairs({key, incoming, seen}) do redis.call('PEXPIRE', part, args.unsealed_ttl_ms) end
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
local guard = args.guard
if guard then
  local reasons = beyond_guard(source, total, guard.max_files, guard.usual_factor)
  approval = table.concat(beyond_share(reasons, total, guard.max_share), '; ')
  if approval == '' then remember_size(source, total) end
end
seal(request, args, total, args.hold_ms, approval, now)
if KEYS[2] then
  redis.call('SET', KEYS[2], args.early_result)
  redis.call('PUBLISH', KEYS[2], args.early_result)
else
  -- Whoever enqueued may die before it publishes that the request is there.
  redis.call('SADD', KEY.changed, request)
end
return {STATE.QUEUED, '1', total, approval}
