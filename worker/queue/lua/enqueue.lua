-- uses: base, enqueueing
-- Accept the ids of a request, all at once or as a stream of chunks, of which the last one seals the request. An
-- unsealed request deletes nothing and expires; a sealed one never changes. Each stream collects its own ids, and the
-- first stream to end makes the request: a broken stream leaves nothing to another one with the same request id.
--
-- KEYS  1 prefix
-- ARGV  1 {request, source, reason, canvas: JSON, what Celery runs afterwards, origin: who enqueues, hold_ms: 0 for
--          none, result_ttl_ms: how long its result is kept, callback: URL for the webhook, guard: {max_files,
--          usual_factor, max_share} of the source, content: tells it from others, retry_of: request whose failed ids it
--          repeats, traceparent: its trace, purge: true, folder or wait, priority: of its purges, urls: {file id:
--          URL…}}; for a chunk of a stream also {stream: its token, is_first, is_last, unsealed_ttl_ms}; all may be
--          omitted but request, source and hold_ms
--       2… file ids, each once
-- Returns {state after the call, '1' if this call sealed it, number of ids, why it waits for approval or ''}; state is
--         '' when the earlier chunks of the stream are gone (expired, cancelled or lost), and TAKEN when a request of
--         another account has the id.
local asked, ids, now, tally = cjson.decode(ARGV[1]), {unpack(ARGV, 2)}, now_ms(), new_tally(1)
if not asked.stream then
  local reply = enqueue_whole(tally, asked, ids, nil, now)
  write_tally(tally)
  return reply
end

local request, stream = asked.request, asked.stream
local key, waiting = request_key(request), request_key(request, 'waiting')
local incoming = request_key(request, 'incoming') .. ':' .. stream
local seen = request_key(request, 'seen') .. ':' .. stream
local urls = request_key(request, 'purge') .. ':' .. stream

local state, known_total, is_taken = known_request(request)
if is_taken then return {TAKEN, '0', 0, ''} end
if state and state ~= STATE.OPEN then return {state, '0', known_total, ''} end
if not asked.is_first and redis.call('HEXISTS', key, 'stream:' .. stream) == 0 then return {'', '0', 0, ''} end
if #ids == 0 then return {STATE.OPEN, '0', 0, ''} end

-- The first write must be a command that a full server refuses: after any other write it accepts all that follow.
local new = {}
for i, known in ipairs(in_slices('SMISMEMBER', seen, ids)) do
  if known == 0 then new[#new + 1] = ids[i] end
end
in_slices('SADD', seen, new)
in_slices('RPUSH', incoming, new)
if asked.purge then store_urls(urls, asked.urls) end
local total = redis.call('LLEN', incoming)
if not asked.is_last then
  if not state then redis.call('HSET', key, 'state', STATE.OPEN, unpack(fields_of(asked, now))) end
  redis.call('HSET', key, 'stream:' .. stream, '1')
  for _, part in ipairs({key, incoming, seen, urls}) do redis.call('PEXPIRE', part, asked.unsealed_ttl_ms) end
  return {STATE.OPEN, '0', total, ''}
end
redis.call('UNLINK', seen)
redis.call('RENAME', incoming, waiting)
redis.call('PERSIST', waiting)
if redis.call('EXISTS', urls) == 1 then
  redis.call('RENAME', urls, request_key(request, 'purge'))
  redis.call('PERSIST', request_key(request, 'purge'))
end
if state then redis.call('DEL', key) end
local reply = seal_and_tell(tally, asked, fields_of(asked, now), total, nil, now)
write_tally(tally)
return reply
