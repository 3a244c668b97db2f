-- uses: base, requests, guards
-- How a request is accepted. `about` has its id, source, hold_ms and guard, and reason, canvas and origin, '' for none.

-- Why a request has to wait for somebody's approval, in words; '' when it does not. `guard` is '' or "max_files
-- usual_factor max_share" with 0 for none.
local function approval_of(guard, source, total)
  if guard == '' then return '' end
  local max_files, usual_factor, max_share = string.match(guard, '^(%S+) (%S+) (%S+)$')
  local reasons = beyond_guard(source, total, tonumber(max_files), tonumber(usual_factor))
  local approval = table.concat(beyond_share(reasons, total, tonumber(max_share)), '; ')
  if approval == '' then remember_size(source, total) end
  return approval
end

-- The first fields of a request's hash, and their values.
local function described(about, now)
  local fields = {'source', about.source, 'enqueued_at', now}
  for _, name in ipairs({'reason', 'canvas', 'origin'}) do
    if about[name] ~= '' then fields[#fields + 1], fields[#fields + 2] = name, about[name] end
  end
  return fields
end

local function given(text) return text ~= '' and text or nil end

-- Seal a request whose ids are in. Its first result is written to the key of Celery's backend, where there is one.
-- Returns what `enqueue` does.
local function seal_and_tell(tally, about, total, result_key, first_result, now, sequence)
  local approval = approval_of(about.guard, about.source, total)
  local known = {source = about.source, reason = given(about.reason), origin = given(about.origin)}
  seal_into(tally, about.id, known, total, about.hold_ms, approval, now, sequence, described(about, now))
  if result_key then
    redis.call('SET', result_key, first_result)
    redis.call('PUBLISH', result_key, first_result)
  else
    -- Whoever enqueued may die before it publishes that the request is there.
    redis.call('SADD', KEY.changed, about.id)
  end
  return {STATE.QUEUED, '1', total, approval}
end

-- Enqueue a request with all its file_ids, unless its id is known. The first to write is a command that a full server
-- refuses: after any other write it would let all the rest pass.
local function enqueue_whole(tally, about, result_key, first_result, now)
  local key = request_key(about.id)
  local known = redis.call('HMGET', key, 'state', 'total')
  if known[1] and known[1] ~= STATE.OPEN then return {known[1], '0', tonumber(known[2]), ''} end
  in_slices('RPUSH', request_key(about.id, 'waiting'), about.file_ids)
  if known[1] then redis.call('DEL', key) end
  return seal_and_tell(tally, about, #about.file_ids, result_key, first_result, now, next_number())
end
