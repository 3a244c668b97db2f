-- uses: base, audit, metrics, purging
-- How items end, and with the last one their request.

local REMARK_DOUBTFUL = 'cancelled after a call whose answer was lost: the file may be deleted'

-- Record that items ended; `counter` is the one they leave, KEY.waiting or KEY.in_flight.
local function end_items(request, outcome, attempts, error, ids, counter, now)
  if #ids == 0 then return end
  local key = request_key(request)
  redis.call('RPUSH', request_key(request, outcome), cjson.encode({now, tonumber(attempts), error, unpack(ids)}))
  redis.call('HINCRBY', key, outcome, #ids)
  redis.call('HINCRBY', KEY.totals, outcome, #ids)
  if counter == KEY.in_flight then redis.call('HINCRBY', key, 'in_flight', -#ids) end
  local about = redis.call('HMGET', key, 'source', 'purge', 'priority', 'sequence')
  count(counter, about[1], -#ids)
  if about[2] then record_gone(request, {priority = about[3], sequence = about[4]}, outcome, ids, now) end
end

-- Record how a request ended: in the audit trail and the metrics, which `write_ends` writes at the end of the
-- operation, and in the cleanup run that it came from.
local function record_end(request, about, state)
  local detail = {reason = about.reason or nil}
  for outcome, n in pairs(about.by_outcome) do
    if n > 0 then detail[outcome] = n end
  end
  note_audit('ended', request, about.source or '', about.origin or '', state, about.total, detail)
  local run = about.run and KEY['cleanup:'] .. 'run:' .. about.run
  if run and redis.call('EXISTS', run) == 1 then
    redis.call('HSET', run, 'result', state, 'counts', cjson.encode(about.by_outcome))
  end
end

-- Queue the webhook of a request that is final now, and remove its URL from the request. Its id is new even if the
-- request id is used again, and contains no full stop, which would make the signed text ambiguous.
local function queue_webhook(request, key, url, report, now)
  report.request_id, report.finished_at = request, now
  report.traceparent = redis.call('HGET', key, 'traceparent') or nil
  local id = string.gsub(request, '%.', '~') .. string.format(':%.0f', now)
  redis.call('HSET', KEY['webhook:'] .. id, 'url', url, 'report', cjson.encode(report), 'attempts', 0, 'since', now)
  redis.call('ZADD', KEY['webhooks:waiting'], now, id)
  redis.call('HDEL', key, 'callback')
end

-- Let a final request expire.
local function expire(request, ttl)
  redis.call('PEXPIRE', request_key(request), ttl)
  for _, part in ipairs({'withdrawn', 'purge', unpack(OUTCOMES)}) do
    redis.call('PEXPIRE', request_key(request, part), ttl)
  end
end

local FINISH_FIELDS = {'state', 'total', 'revoked', 'source', 'reason', 'run', 'origin', 'result_ttl_ms', 'callback',
  'sequence', 'enqueued_at', 'purge', 'purge_pending', unpack(OUTCOMES)}

-- What `finish` needs to know of a request, by name; an outcome is the number of items that ended with it.
local function read_for_finish(key)
  local about = {}
  for i, value in ipairs(redis.call('HMGET', key, unpack(FINISH_FIELDS))) do about[FINISH_FIELDS[i]] = value end
  about.by_outcome, about.ended = {}, 0
  for _, outcome in ipairs(OUTCOMES) do
    about.by_outcome[outcome] = tonumber(about[outcome] or 0)
    about.ended = about.ended + about.by_outcome[outcome]
  end
  about.is_purging = tonumber(about.purge_pending or 0) > 0
  return about
end

local function final_state(about)
  if about.revoked and about.by_outcome[OUTCOME.CANCELLED] > 0 then return STATE.REVOKED end
  return about.by_outcome[OUTCOME.FAILED] > 0 and STATE.FAILURE or STATE.SUCCESS
end

-- Let a request that is final now expire. One whose files are being purged stays until its purges have ended.
local function expire_final(request, about, ttl)
  if about.purge then
    if not about.is_purging then expire(request, ttl) end
    return
  end
  redis.call('PEXPIRE', request_key(request), ttl)
  if about.revoked then redis.call('PEXPIRE', request_key(request, 'withdrawn'), ttl) end
  for outcome, n in pairs(about.by_outcome) do
    if n > 0 then redis.call('PEXPIRE', request_key(request, outcome), ttl) end
  end
end

-- If all items of a request have ended, make it final and put it in the outbox, from which other workers publish it
-- after `outbox_delay` ms. One that waits for its purges is final with the last of them. Returns whether it is final
-- now.
local function finish(request, now, result_ttl, outbox_delay)
  local key = request_key(request)
  local about = read_for_finish(key)
  if not about.state or FINAL[about.state] or about.state == STATE.OPEN then return false end
  if about.ended < tonumber(about.total) or (about.purge == 'wait' and about.is_purging) then
    redis.call('SADD', KEY.changed, request)
    return false
  end
  local state, enqueued_at = final_state(about), tonumber(about.enqueued_at)
  redis.call('HSET', key, 'state', state, 'finished_at', now)
  expire_final(request, about, about.result_ttl_ms or result_ttl)
  redis.call('SREM', KEY.changed, request)
  redis.call('XDEL', KEY.unfinished, about.sequence .. '-0')
  if state ~= STATE.SUCCESS then redis.call('XADD', KEY.unsuccessful, '*', 'request', request) end
  record_end(request, about, state)
  count_one('requests:' .. state)
  observe('request_ms', math.max(0, now - (enqueued_at or now)))
  if about.callback then
    local report = {source = about.source or '', reason = about.reason or nil, state = state,
      total = tonumber(about.total), enqueued_at = enqueued_at}
    for outcome, n in pairs(about.by_outcome) do report[outcome] = n end
    queue_webhook(request, key, about.callback, report, now)
  end
  redis.call('ZADD', KEY.outbox, now + outbox_delay, request)
  redis.call('PUBLISH', KEY.finished, request)
  return true
end

-- Write what `finish` noted about the requests that are final now.
local function write_ends()
  write_noted()
  write_counted()
end
