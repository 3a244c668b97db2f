-- uses: base
-- Files of requests that ask for purge: URLs that come with the request, and the work for `worker.purge` as files go.

local RANKS = 1e12 -- sequences are below it, so that a priority comes before the order of enqueueing
local PURGED_TOO = {[OUTCOME.DELETED] = true, [OUTCOME.PRESUMED_DELETED] = true, [OUTCOME.NOT_FOUND] = true}
local NO_URL = 'the URL is not known'

-- Store the URLs of files (file id → URL) under the key of a request, or of one of its streams.
local function store_urls(key, urls)
  local pairs_of = {}
  for id, url in pairs(urls or {}) do pairs_of[#pairs_of + 1], pairs_of[#pairs_of + 2] = id, url end
  in_slices('HSET', key, pairs_of)
end

-- A file's entry once its purge has ended.
local function purge_ended(state, now, url, error)
  return cjson.encode({state, now, url, error})
end

-- The rank of a request's files among those that wait for a purge.
local function rank_of(priority, sequence)
  return string.format('%.0f', tonumber(priority or 0) * RANKS + tonumber(sequence))
end

-- Let the files of a request wait for their purge, in the step in which they end. `about`: its priority and sequence.
local function record_gone(request, about, outcome, ids, now)
  if not PURGED_TOO[outcome] then return end
  local key, rank = request_key(request), rank_of(about.priority, about.sequence)
  local waiting, unknown = {}, {}
  for i, url in ipairs(in_slices('HMGET', request_key(request, 'purge'), ids)) do
    if url then
      waiting[#waiting + 1], waiting[#waiting + 2] = rank, ids[i] .. ' ' .. request
    else
      unknown[#unknown + 1], unknown[#unknown + 2] = ids[i], purge_ended(PURGE.FAILED, now, '', NO_URL)
    end
  end
  if #waiting > 0 then
    in_slices('ZADD', KEY['purges:waiting'], waiting)
    redis.call('SET', KEY['purges:since'], now, 'NX')
    redis.call('HSETNX', key, 'purge_at', now)
    redis.call('HINCRBY', key, 'purge_pending', #waiting / 2)
  end
  if #unknown > 0 then
    in_slices('HSET', request_key(request, 'purge'), unknown)
    redis.call('HINCRBY', key, PURGE.FAILED, #unknown / 2)
  end
end
