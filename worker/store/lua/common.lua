-- What several operations share. Each gets what it uses of this in front of it, and the tables KEY, STATE, OUTCOME,
-- OUTCOMES, DOUBT and FINAL (see worker/scripts.py). One piece ends with a blank line; it may use those above it.
-- Times are milliseconds of the Redis server's clock.

local REMARK_DOUBTFUL = 'cancelled after a call whose answer was lost: the file may be deleted'

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function request_key(request, part)
  return KEY['request:'] .. (part or 'about') .. ':' .. request
end

local function line_key(source)
  return KEY['source:'] .. source .. ':line'
end

local function next_number()
  return redis.call('INCR', KEY.sequence)
end

local SLICE = 2000 -- values that go to one command at once: Lua's stack holds some thousands

-- Call `command key … values…` in slices; the answers are joined when the command gives a list.
local function in_slices(command, key, values)
  local answers = {}
  for first = 1, #values, SLICE do
    local part = redis.call(command, key, unpack(values, first, math.min(first + SLICE - 1, #values)))
    if type(part) == 'table' then
      for _, answer in ipairs(part) do answers[#answers + 1] = answer end
    end
  end
  return answers
end

-- Add n to a hash's counter; a counter of 0 leaves no field behind.
local function count(key, field, n)
  if n == 0 then return end
  if redis.call('HINCRBY', key, field, n) == 0 then redis.call('HDEL', key, field) end
end

-- Put a request at its place in its source's line, and the source among those that have work.
local function enter_line(request, source, sequence)
  redis.call('ZADD', line_key(source), sequence, request)
  if not redis.call('ZSCORE', KEY.sources, source) then
    redis.call('ZADD', KEY.sources, next_number(), source)
  end
end

-- Let requests back into line whose retries are due or whose hold has ended; 200 of each at a time.
local function promote_due(now)
  for _, waiting_room in ipairs({KEY.retries, KEY.holds}) do
    for _, request in ipairs(redis.call('ZRANGEBYSCORE', waiting_room, '-inf', now, 'LIMIT', 0, 200)) do
      redis.call('ZREM', waiting_room, request)
      local about = redis.call('HMGET', request_key(request), 'source', 'sequence')
      if about[1] then enter_line(request, about[1], about[2]) end
    end
  end
end

-- Where this request's first retry is due, for the account-wide set of such times.
local function note_next_retry(request)
  local first = redis.call('ZRANGE', request_key(request, 'retries'), 0, 0, 'WITHSCORES')
  if first[2] then
    redis.call('ZADD', KEY.retries, first[2], request)
  else
    redis.call('ZREM', KEY.retries, request)
  end
end

-- Ids that a claim could take now, counted up to `enough`; never more than there are.
local function count_claimable(now, enough)
  local found = 0
  for _, source in ipairs(redis.call('ZRANGE', KEY.sources, 0, 99)) do
    local line = line_key(source)
    found = found + redis.call('ZCARD', line)
    if found >= enough then return enough end
    for _, request in ipairs(redis.call('ZRANGE', line, 0, 9)) do
      local ids = redis.call('LLEN', request_key(request, 'waiting'))
        + redis.call('ZCOUNT', request_key(request, 'retries'), '-inf', now)
      found = found + math.max(0, ids - 1)
      if found >= enough then return enough end
    end
  end
  return found
end

local function split_field(field)
  local gap = string.find(field, ' ', 1, true)
  return string.sub(field, 1, gap - 1), string.sub(field, gap + 1)
end

-- Items, each {request, file, attempts, doubt}, as JSON: those that stand together and have the same make one run,
-- [request, attempts, doubt, [file…]].
local function pack_items(items)
  local runs, last = {}, nil
  for _, item in ipairs(items) do
    if not last or item[1] ~= last[1] or item[3] ~= last[3] or item[4] ~= last[4] then
      last = item
      runs[#runs + 1] = {item[1], item[3], item[4], {}}
    end
    local files = runs[#runs][4]
    files[#files + 1] = item[2]
  end
  return cjson.encode(runs)
end

-- The items of a lease.
local function read_items(lease)
  local packed, items = redis.call('HGET', lease, 'items'), {}
  for _, run in ipairs(packed and cjson.decode(packed) or {}) do
    for _, file in ipairs(run[4]) do items[#items + 1] = {run[1], file, run[2], run[3]} end
  end
  return items
end

-- Write down which items are left in a lease; without any it is over.
local function leave_items(token, items)
  local lease = KEY['lease:'] .. token
  if #items > 0 then
    redis.call('HSET', lease, 'items', pack_items(items))
  else
    redis.call('DEL', lease)
    redis.call('ZREM', KEY.leases, token)
  end
end

-- Move items between waiting and in flight (sign 1: they take off, -1: they come back) in all counters. `by_request` has
-- the number of items of each request.
local function count_flight(by_request, sign)
  local by_source = {}
  for request, n in pairs(by_request) do
    local source = redis.call('HGET', request_key(request), 'source')
    if source then
      redis.call('HINCRBY', request_key(request), 'in_flight', sign * n)
      if sign > 0 then redis.call('SADD', KEY.changed, request) end
      by_source[source] = (by_source[source] or 0) + n
    end
  end
  for source, n in pairs(by_source) do
    count(KEY.in_flight, source, sign * n)
    count(KEY.waiting, source, -sign * n)
  end
end

-- Write down that items ended; `room` is the counter they leave, KEY.waiting or KEY.in_flight.
local function end_items(request, outcome, attempts, error, ids, room, now)
  if #ids == 0 then return end
  local key = request_key(request)
  redis.call('RPUSH', request_key(request, outcome), cjson.encode({now, tonumber(attempts), error, unpack(ids)}))
  redis.call('HINCRBY', key, outcome, #ids)
  redis.call('HINCRBY', KEY.totals, outcome, #ids)
  if room == KEY.in_flight then redis.call('HINCRBY', key, 'in_flight', -#ids) end
  count(room, redis.call('HGET', key, 'source'), -#ids)
end

-- One line of the audit trail (see worker/audit.py for what each field holds). Nothing of ours rewrites it.
local function write_audit(event, request, source, by, state, total, detail)
  redis.call('XADD', KEY.audit, '*', 'event', event, 'request', request, 'source', source, 'by', by,
    'state', state, 'total', total, 'detail', next(detail) and cjson.encode(detail) or '{}')
end

-- What became of a request, for the audit trail and for the cleanup run that it came from.
local function record_end(request, about, state, by_outcome)
  local detail = {reason = about.reason or nil}
  for outcome, n in pairs(by_outcome) do
    if n > 0 then detail[outcome] = n end
  end
  write_audit('ended', request, about.source, about.origin or '', state, about.total, detail)
  local run = about.run and KEY['cleanup:'] .. 'run:' .. about.run
  if run and redis.call('EXISTS', run) == 1 then
    redis.call('HSET', run, 'result', state, 'counts', cjson.encode(by_outcome))
  end
end

-- The median of the source's last requests that went through, and how many these are; nil when there is none.
local function usual_size(source)
  local sizes = redis.call('LRANGE', KEY['source:'] .. source .. ':sizes', 0, -1)
  if #sizes == 0 then return nil, 0 end
  for i, size in ipairs(sizes) do sizes[i] = tonumber(size) end
  table.sort(sizes)
  local low, high = math.floor((#sizes + 1) / 2), math.ceil((#sizes + 1) / 2)
  return (sizes[low] + sizes[high]) / 2, #sizes
end

local function remember_size(source, total)
  redis.call('LPUSH', KEY['source:'] .. source .. ':sizes', total)
  redis.call('LTRIM', KEY['source:'] .. source .. ':sizes', 0, 9)
end

-- Why so many files are more than a source may send unasked: a list of reasons in words, empty when they are not.
-- A bound of 0 is none. Below one file nothing is usual: a median of 0 counts as 1.
local function beyond_guard(source, total, max_files, usual_factor)
  local reasons = {}
  if max_files > 0 and total > max_files then
    reasons[#reasons + 1] = string.format('%d files are more than max_files = %d', total, max_files)
  end
  local usual, known = usual_size(source)
  if usual_factor > 0 and usual and total > usual_factor * math.max(1, usual) then
    reasons[#reasons + 1] = string.format(
      '%d files are more than %g times the usual %g (median of the last %d)', total, usual_factor, usual, known)
  end
  return reasons
end

-- Add to the reasons why so many files are more than a share of the library, as last counted. Without a count nobody can
-- know, and so it is held.
local function beyond_share(reasons, total, max_share)
  if max_share <= 0 or max_share >= 1 then return reasons end
  local files = tonumber(redis.call('HGET', KEY.library, 'files') or -1)
  if files < 0 then
    reasons[#reasons + 1] = 'max_share is set, and the library has not been counted yet'
  elseif total > max_share * files then
    reasons[#reasons + 1] = string.format('%d files are more than %g (max_share) of the library with %d', total, max_share, files)
  end
  return reasons
end

-- Seal a request: it goes into line, waits for its hold to end, or, for `approval` (a reason in words; '' for none),
-- waits until somebody approves it. `about` has its source, reason and origin, where there are any.
local function seal(request, about, total, hold, approval, now)
  local key, sequence = request_key(request), next_number()
  local detail = {reason = about.reason}
  redis.call('HSET', key, 'state', STATE.QUEUED, 'total', total, 'sequence', sequence)
  count(KEY.waiting, about.source, total)
  if hold > 0 then
    redis.call('HSET', key, 'hold_until', now + hold)
    detail.hold_ms = hold
  end
  if approval ~= '' then
    redis.call('HSET', key, 'approval', approval)
    redis.call('ZADD', KEY.approvals, now, request)
    detail.why = approval
  elseif hold > 0 then
    redis.call('ZADD', KEY.holds, now + hold, request)
  else
    enter_line(request, about.source, sequence)
  end
  local event = approval == '' and 'accepted' or 'held'
  write_audit(event, request, about.source, about.origin or '', STATE.QUEUED, total, detail)
end

-- When all items of a request have ended: make it final and put it in the outbox. Returns whether it has.
local function finish(request, now, result_ttl, patience)
  local key = request_key(request)
  local about = redis.call('HMGET', key, 'state', 'total', 'revoked', 'source', 'reason', 'run', 'origin',
    unpack(OUTCOMES))
  if not about[1] or FINAL[about[1]] or about[1] == STATE.OPEN then return false end
  local ended, by_outcome = 0, {}
  for i, outcome in ipairs(OUTCOMES) do
    by_outcome[outcome] = tonumber(about[7 + i] or 0)
    ended = ended + by_outcome[outcome]
  end
  if ended < tonumber(about[2]) then
    redis.call('SADD', KEY.changed, request)
    return false
  end
  local state = STATE.SUCCESS
  if about[3] and by_outcome[OUTCOME.CANCELLED] > 0 then
    state = STATE.REVOKED
  elseif by_outcome[OUTCOME.FAILED] > 0 then
    state = STATE.FAILURE
  end
  redis.call('HSET', key, 'state', state, 'finished_at', now)
  redis.call('PEXPIRE', key, result_ttl)
  if about[3] then redis.call('PEXPIRE', request_key(request, 'withdrawn'), result_ttl) end
  for outcome, n in pairs(by_outcome) do
    if n > 0 then redis.call('PEXPIRE', request_key(request, outcome), result_ttl) end
  end
  redis.call('SREM', KEY.changed, request)
  local known = {source = about[4] or '', reason = about[5], run = about[6], origin = about[7], total = about[2]}
  record_end(request, known, state, by_outcome)
  redis.call('ZADD', KEY.outbox, now + patience, request)
  return true
end

-- Remember of which files a call's answer was lost, for as long as anybody may ask for them again.
local function remember_doubtful(files, now, result_ttl, remember)
  if #files == 0 then return end
  local keep, scores = math.max(result_ttl, remember), {}
  for _, file in ipairs(files) do scores[#scores + 1], scores[#scores + 2] = now, file end
  in_slices('ZADD', KEY.doubtful, scores)
  redis.call('ZREMRANGEBYSCORE', KEY.doubtful, '-inf', now - keep)
  redis.call('PEXPIRE', KEY.doubtful, keep)
end

-- The limiter's part -----------------------------------------------------------------------------------------------

local LEARNED_MS = 24 * 3600 * 1000 -- a learned window is believed for a day
local MARGIN_LEAST = 8 -- ms by which a window is taken to be longer than it is: at least …
local MARGIN_MOST = 250 -- … and at most
local SPREAD = 0.8 -- of a window's even spacing, by which calls keep apart even when there is room …
local SPREAD_MOST_MS = 20 -- … but no further than this
local PATIENCE = 3 -- failed calls in a row, with no success between them, that make an outage
local OUTAGE_FIRST_MS = 2000
local OUTAGE_MOST_MS = 10000
local KEY_FIRST_MS = 5000
local KEY_MOST_MS = 60000
local HEALTH_WEIGHT = 0.1 -- of the newest call in the share of calls that go well
local HEALTHY = 0.7 -- the share from which on a call that fails again and again may be the fault of its ids

local function margin_of(limits, first)
  return tonumber(redis.call('HGET', limits, 'margin') or first)
end

-- How long to wait at this level of trouble: doubling, capped, up to a fifth shorter or longer at random.
local function trouble_delay(level, now)
  local first, most = OUTAGE_FIRST_MS, OUTAGE_MOST_MS
  if redis.call('HGET', KEY.account, 'trouble_kind') == 'key_refused' then first, most = KEY_FIRST_MS, KEY_MOST_MS end
  local delay = math.min(most, first * 2 ^ math.min(level - 1, 20))
  return math.floor(delay * (1 + (now % 41) / 200))
end

-- A call failed for no fault of its ids. Some in a row make an outage; from then on only failed probes deepen it, since
-- what was already in the air when it began says nothing new.
local function note_trouble(kind, reason, probe, now)
  local account = KEY.account
  local streak = redis.call('HINCRBY', account, 'trouble_streak', 1)
  local level = tonumber(redis.call('HGET', account, 'trouble_level') or 0)
  redis.call('HSETNX', account, 'trouble_since', now)
  if level == 0 and kind == 'trouble' and streak < PATIENCE then return end
  if level > 0 and not probe then return end
  level = math.min(level + 1, 20)
  redis.call('HSET', account, 'trouble', reason, 'trouble_kind', kind, 'trouble_level', level)
  redis.call('HSET', account, 'trouble_until', now + trouble_delay(level, now))
end

-- ms for which no call may be made to the endpoint (0: none), why, and the level of trouble. Trouble is that of the
-- deletions: a listing that works says nothing of them, and a key may be allowed the one and not the other.
local function pause_left(endpoint, now)
  local about = redis.call('HMGET', KEY.account, 'paused', 'trouble_until', 'trouble_level', 'trouble_kind')
  local throttled = tonumber(redis.call('HGET', KEY['limits:'] .. endpoint, 'throttled_until') or 0)
  local level = endpoint == 'delete' and tonumber(about[3] or 0) or 0
  local trouble = tonumber(about[2] or 0)
  if about[1] then return 1000, level, 'operator' end
  if level > 0 and trouble > now then return trouble - now, level, about[4] end
  if throttled > now then return throttled - now, level, 'throttled' end
  return 0, level
end

-- Every window that holds: those in `args` from `first` on, and the learned ones. A list of {limit, interval}.
local function windows_of(endpoint, now, args, first)
  local windows = {}
  for i = first, #args, 2 do windows[#windows + 1] = {tonumber(args[i]), tonumber(args[i + 1])} end
  local known = redis.call('HGETALL', KEY['limits:'] .. endpoint)
  for i = 1, #known, 2 do
    if string.sub(known[i], 1, 7) == 'window:' then
      local limit, at = split_field(known[i + 1])
      if tonumber(at) > now - LEARNED_MS then
        windows[#windows + 1] = {tonumber(limit), tonumber(string.sub(known[i], 8))}
      end
    end
  end
  return windows
end

-- How far calls under this window keep apart, ms. A burst would come back at every turn of the window, with all workers
-- waking at once; spread out, there is always a next slot in sight.
local function spacing_of(allowed, interval)
  return math.min(SPREAD_MOST_MS, SPREAD * interval / allowed)
end

-- ms until all windows have room for one more call, and the longest window, ms. A window with a share of n calls has
-- room once the n-th last call is older than the window and the margin.
local function wait_for_windows(endpoint, now, share, first_margin, args, first)
  local log, wait, longest, spacing = KEY['calls:'] .. endpoint, 0, 0, 0
  local margin = margin_of(KEY['limits:'] .. endpoint, first_margin)
  for _, window in ipairs(windows_of(endpoint, now, args, first)) do
    local allowed = math.max(1, math.floor(window[1] * share))
    local before = redis.call('ZREVRANGE', log, allowed - 1, allowed - 1, 'WITHSCORES')[2]
    if before then wait = math.max(wait, math.ceil(tonumber(before) + window[2] + margin - now)) end
    longest = math.max(longest, window[2])
    spacing = math.max(spacing, spacing_of(allowed, window[2]))
  end
  local last = redis.call('ZREVRANGE', log, 0, 0, 'WITHSCORES')[2]
  if last then wait = math.max(wait, math.ceil(tonumber(last) + spacing - now)) end
  return wait, longest
end

-- Note how a call went that had no more reason to fail than any other.
local function note_health(went_well)
  local before = tonumber(redis.call('HGET', KEY.account, 'health') or 1)
  redis.call('HSET', KEY.account, 'health', before + HEALTH_WEIGHT * ((went_well and 1 or 0) - before))
end

-- {ms for which the endpoint is paused, ms since the last success of the account or -1, '1' if most calls go well}
local function pause_and_success(endpoint, now)
  local left = pause_left(endpoint, now)
  local about = redis.call('HMGET', KEY.account, 'last_success', 'health')
  local healthy = tonumber(about[2] or 1) >= HEALTHY
  return {left, about[1] and now - tonumber(about[1]) or -1, healthy and '1' or '0'}
end
