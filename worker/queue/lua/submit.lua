-- uses: base, enqueueing, known
-- Enqueue requests with all their ids, for callers that wait for the end. A request joins the known one with its id,
-- unless that one ended too long ago: then it gets another id, and later repeats join it.
--
-- KEYS  1 prefix   2 heartbeats of the workers
-- ARGV  1 {requests: [{request, source, reason, origin, hold_ms, result_ttl_ms, guard, file_ids, content, purge,
--          priority, urls, other: id of a request that does not join}…], join_ms: maximum age of the end of a request
--          that is joined, alive_ms: maximum age of the heartbeat of a worker that is alive, repeats_ttl_ms, all_wait:
--          whether all callers that are expected have called}
-- Returns {state after the call, request id, '1' if it is on hold or waits for approval, why it waits for approval or
--         '', content or '', '1' if it is new} for each request; the content of an id that another account has is
--         'TAKEN'; {} if no worker is alive: then nothing was enqueued.
local asked, now, replies = cjson.decode(ARGV[1]), now_ms(), {}
if redis.call('ZCOUNT', KEYS[2], now - asked.alive_ms, '+inf') == 0 then return replies end
local tally = new_tally(#asked.requests)

-- Days from 1970 to a Gregorian date.
local function days_until(year, month, day)
  if month <= 2 then year, month = year - 1, month + 12 end
  return 365 * year + math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
    + math.floor((153 * month - 457) / 5) + day - 719469
end

local function ms_of(iso)
  local year, month, day, hours, minutes, seconds = string.match(iso, '(%d+)-(%d+)-(%d+)T(%d+):(%d+):([%d.]+)')
  local days = days_until(tonumber(year), tonumber(month), tonumber(day))
  return (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000
end

-- Whether a request is known, and whether it ended too long ago to be joined.
local function age_of(request)
  local about = redis.call('HMGET', request_key(request), 'state', 'finished_at')
  if about[1] then return true, FINAL[about[1]] and tonumber(about[2]) <= now - asked.join_ms end
  local told = told_result(request)
  return told ~= nil, told and ms_of(told.finished_at) <= now - asked.join_ms
end

local function id_of(request)
  local first = request.request
  local latest = redis.call('GET', request_key(first, 'repeated')) or first
  local is_known, is_too_old = age_of(latest)
  if not is_too_old and (is_known or latest == first) then return latest end
  redis.call('SET', request_key(first, 'repeated'), request.other, 'PX', asked.repeats_ttl_ms)
  return request.other
end

local function described(request, state, is_new)
  if state == TAKEN then return {STATE.QUEUED, request, '0', '', TAKEN, '0'} end
  local about = redis.call('HMGET', request_key(request), 'approval', 'content', 'state')
  local content = about[2] or not about[3] and select(3, told_result(request))
  local held = redis.call('ZSCORE', KEY.approvals, request)
  local on_hold = held or redis.call('ZSCORE', KEY.holds, request)
  return {state, request, on_hold and '1' or '0', held and about[1] or '', content or '', is_new}
end

for i, request in ipairs(asked.requests) do
  request.request = id_of(request)
  local state, is_new = unpack(enqueue_whole(tally, request, request.file_ids, nil, now))
  replies[i] = described(request.request, state, is_new)
end
write_tally(tally)
if #tally.sources > 0 then redis.call('PUBLISH', KEY.enqueued, asked.all_wait and ALL_WAIT or '') end
return replies
