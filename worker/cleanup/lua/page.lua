-- uses: base
-- Add what one page brought to a run, move on to the next page, and prolong the lease: all or nothing.
--
-- KEYS  1 prefix
-- ARGV  1 run id   2 token   3 lease, ms   4 request id   5 source   6 reason   7 who asks
--       8 how long an unsealed request lives, ms   9 next place in the listing, JSON
--       10 what was returned but is not meant: JSON {reason in words: number}
--       11 files that the rule means: JSON [[file id, bytes, created ms, path]…]
-- Returns {'on' | 'off' (cleanup is switched off) | 'lost' (another worker has the run) | 'gone' (its request was
-- cancelled), number of files that were new}
local run, token, request, source = ARGV[1], ARGV[2], ARGV[4], ARGV[5]
local key, about_key = KEY['cleanup:'] .. 'run:' .. run, request_key(request)
local waiting, seen = request_key(request, 'waiting'), request_key(request, 'seen')
local now = now_ms()

local about = redis.call('HMGET', key, 'token', 'files', 'bytes', 'oldest', 'newest', 'paths', 'excluded')
if about[1] ~= token then return {'lost', 0} end
if redis.call('HGET', KEY.cleanup, 'off') then return {'off', 0} end
local files, bytes = tonumber(about[2] or 0), tonumber(about[3] or 0)
local oldest, newest = tonumber(about[4]), tonumber(about[5])
local paths = about[6] and cjson.decode(about[6]) or {}
local excluded = about[7] and cjson.decode(about[7]) or {}

local state = redis.call('HGET', about_key, 'state')
if state and state ~= STATE.OPEN then return {'gone', 0} end
if not state then
  if files > 0 then return {'gone', 0} end
  redis.call('DEL', waiting, seen)
  redis.call('HSET', about_key, 'state', STATE.OPEN, 'source', source, 'reason', ARGV[6], 'origin', ARGV[7],
    'enqueued_at', now, 'run', run)
end

local ids = {}
for _, file in ipairs(cjson.decode(ARGV[11])) do
  if redis.call('SADD', seen, file[1]) == 1 then
    ids[#ids + 1] = file[1]
    bytes = bytes + file[2]
    if file[3] > 0 then
      oldest = math.min(oldest or file[3], file[3])
      newest = math.max(newest or file[3], file[3])
    end
    if #paths < 20 then paths[#paths + 1] = file[4] end
  end
end
in_slices('RPUSH', waiting, ids)
for why, n in pairs(cjson.decode(ARGV[10])) do excluded[why] = (excluded[why] or 0) + n end
for _, part in ipairs({about_key, waiting, seen}) do redis.call('PEXPIRE', part, ARGV[8]) end

redis.call('HSET', key, 'place', ARGV[9], 'files', files + #ids, 'bytes', string.format('%.0f', bytes),
  'lease_until', now + ARGV[3], 'deaths', 0)
redis.call('HINCRBY', key, 'pages', 1)
if #paths > 0 then redis.call('HSET', key, 'paths', cjson.encode(paths)) end
if next(excluded) then redis.call('HSET', key, 'excluded', cjson.encode(excluded)) end
if oldest then
  redis.call('HSET', key, 'oldest', string.format('%.0f', oldest), 'newest', string.format('%.0f', newest))
end
redis.call('ZADD', KEY['cleanup:runs'], now + ARGV[3], run)
return {'on', #ids}
