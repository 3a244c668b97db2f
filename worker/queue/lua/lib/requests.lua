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
local function record_end(request, about, state, by_outcome)
  local detail = {reason = about.reason or nil}
  for outcome, n in pairs(by_outcome) do
    if n > 0 then detail[outcome] = n end
  end
  note_audit('ended', request, about.source, about.origin or '', state, about.total, detail)
  local run = about.run and KEY['cleanup:'] .. 'run:' .. about.run
  if run and redis.call('EXISTS', run) == 1 then
    redis.call('HSET', run, 'result', state, 'counts', cjson.encode(by_outcome))
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

-- If all items of a request have ended, make it final and put it in the outbox, from which other workers publish it
-- after `outbox_delay` ms. One that waits for its purges is final with the last of them, and none expires before its
-- purges have ended. Returns whether it is final now.
local function finish(request, now, result_ttl, outbox_delay)
  local key = request_key(request)
  local about = redis.call('HMGET', key, 'state', 'total', 'revoked', 'source', 'reason', 'run', 'origin',
    'result_ttl_ms', 'callback', 'sequence', 'enqueued_at', 'purge', 'purge_pending', unpack(OUTCOMES))
  if not about[1] or FINAL[about[1]] or about[1] == STATE.OPEN then return false end
  local ended, by_outcome = 0, {}
  for i, outcome in ipairs(OUTCOMES) do
    by_outcome[outcome] = tonumber(about[13 + i] or 0)
    ended = ended + by_outcome[outcome]
  end
  local is_purging = tonumber(about[13] or 0) > 0
  if ended < tonumber(about[2]) or (about[12] == 'wait' and is_purging) then
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
  result_ttl = about[8] or result_ttl
  if about[11] then
    if not is_purging then expire(request, result_ttl) end
  else
    redis.call('PEXPIRE', key, result_ttl)
    if about[3] then redis.call('PEXPIRE', request_key(request, 'withdrawn'), result_ttl) end
    for outcome, n in pairs(by_outcome) do
      if n > 0 then redis.call('PEXPIRE', request_key(request, outcome), result_ttl) end
    end
  end
  redis.call('SREM', KEY.changed, request)
  redis.call('XDEL', KEY.unfinished, about[10] .. '-0')
  if state ~= STATE.SUCCESS then redis.call('XADD', KEY.unsuccessful, '*', 'request', request) end
  local known = {source = about[4] or '', reason = about[5], run = about[6], origin = about[7], total = about[2]}
  record_end(request, known, state, by_outcome)
  count_one('requests:' .. state)
  observe('request_ms', math.max(0, now - (tonumber(about[11]) or now)))
  if about[9] then
    local report = {source = known.source, reason = known.reason or nil, state = state, total = tonumber(known.total),
      enqueued_at = tonumber(about[11])}
    for outcome, n in pairs(by_outcome) do report[outcome] = n end
    queue_webhook(request, key, about[9], report, now)
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
