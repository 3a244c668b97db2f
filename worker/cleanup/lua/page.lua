-- uses: base, purging
-- Add the files of one page to a run, advance its position in the listing, and renew its lease, all or nothing.
--
-- KEYS  1 prefix
-- ARGV  1 {run, token, lease_ms, request, source, reason, by: who started the run, unsealed_ttl_ms, position: of
--          the next page in the listing, JSON, excluded: files that the rule does not match, {reason: number},
--          files: that it matches, [{id, bytes, created_ms, path}…]}; of a rule that purges also {purge, priority,
--          endpoints: URL endpoints of the account, urls: {file id: URL…}}
-- Returns {'on' | 'off' (cleanup is switched off) | 'lost' (another worker has the run) | 'gone' (its request was
--          cancelled or has expired), number of files not seen before}
local args = cjson.decode(ARGV[1])
local run, request = args.run, args.request
local key, about_key = KEY['cleanup:'] .. 'run:' .. run, request_key(request)
local waiting, seen, urls = request_key(request, 'waiting'), request_key(request, 'seen'), request_key(request, 'purge')
local now = now_ms()

local about = redis.call('HMGET', key, 'token', 'files', 'bytes', 'oldest', 'newest', 'paths', 'excluded')
if about[1] ~= args.token then return {'lost', 0} end
if redis.call('HGET', KEY.cleanup, 'off') then return {'off', 0} end
local files, bytes = tonumber(about[2] or 0), tonumber(about[3] or 0)
local oldest, newest = tonumber(about[4]), tonumber(about[5])
local paths = about[6] and cjson.decode(about[6]) or {}
local excluded = about[7] and cjson.decode(about[7]) or {}

local state = redis.call('HGET', about_key, 'state')
if state and state ~= STATE.OPEN then return {'gone', 0} end
if not state then
  if files > 0 then return {'gone', 0} end
  redis.call('DEL', waiting, seen, urls)
  redis.call('HSET', about_key, 'state', STATE.OPEN, 'source', args.source, 'reason', args.reason, 'origin', args.by,
    'enqueued_at', now, 'run', run)
  if args.purge then redis.call('HSET', about_key, 'purge', args.purge, 'priority', args.priority) end
end

local ids = {}
for _, file in ipairs(args.files) do
  if redis.call('SADD', seen, file.id) == 1 then
    ids[#ids + 1] = file.id
    bytes = bytes + file.bytes
    if file.created_ms > 0 then
      oldest = math.min(oldest or file.created_ms, file.created_ms)
      newest = math.max(newest or file.created_ms, file.created_ms)
    end
    if #paths < 20 then paths[#paths + 1] = file.path end
  end
end
in_slices('RPUSH', waiting, ids)
if args.purge then
  store_urls(urls, args.urls)
  in_slices('SADD', KEY['purges:endpoints'], args.endpoints)
end
for why, n in pairs(args.excluded) do excluded[why] = (excluded[why] or 0) + n end
for _, part in ipairs({about_key, waiting, seen, urls}) do redis.call('PEXPIRE', part, args.unsealed_ttl_ms) end

redis.call('HSET', key, 'place', args.position, 'files', files + #ids, 'bytes', string.format('%.0f', bytes),
  'lease_until', now + args.lease_ms, 'deaths', 0)
redis.call('HINCRBY', key, 'pages', 1)
if #paths > 0 then redis.call('HSET', key, 'paths', cjson.encode(paths)) end
if next(excluded) then redis.call('HSET', key, 'excluded', cjson.encode(excluded)) end
if oldest then
  redis.call('HSET', key, 'oldest', string.format('%.0f', oldest), 'newest', string.format('%.0f', newest))
end
redis.call('ZADD', KEY['cleanup:runs'], now + args.lease_ms, run)
return {'on', #ids}
