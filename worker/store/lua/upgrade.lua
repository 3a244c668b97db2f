-- uses: base
-- Upgrade what an earlier version stored to the current format: collect the parked groups in a set, count the ids on
-- hold and the ids that wait for a retry, and list the requests that are not final or not successful. Every process
-- calls it before its first operation.
--
-- KEYS  1 prefix
-- ARGV  1 {format: the current format, text}
-- Returns 1 if it changed anything, else 0.
local args = cjson.decode(ARGV[1])
if redis.call('GET', KEY.format) == args.format then return 0 end

local function count_ids(counter, request, command, part)
  local source = redis.call('HGET', request_key(request), 'source')
  if source then count(counter, source, redis.call(command, request_key(request, part))) end
end

redis.call('DEL', KEY.on_hold, KEY.retrying)
for _, token in ipairs(redis.call('ZRANGE', KEY.leases, 0, -1)) do
  if redis.call('HGET', KEY['lease:'] .. token, 'held') == '0' then redis.call('SADD', KEY.parked, token) end
end
for _, set in ipairs({KEY.holds, KEY.approvals}) do
  for _, request in ipairs(redis.call('ZRANGE', set, 0, -1)) do count_ids(KEY.on_hold, request, 'LLEN', 'waiting') end
end
local counted = {}
local function count_retries(set)
  for _, request in ipairs(redis.call('ZRANGE', set, 0, -1)) do
    if not counted[request] then count_ids(KEY.retrying, request, 'ZCARD', 'retries') end
    counted[request] = true
  end
end
count_retries(KEY.retries)
for _, source in ipairs(redis.call('ZRANGE', KEY.sources, 0, -1)) do
  count_retries(KEY['source:'] .. source .. ':line')
end
redis.call('DEL', KEY.unfinished, KEY.unsuccessful)
local function list(event, request)
  local about = redis.call('HMGET', request_key(request), 'state', 'sequence')
  if event ~= 'ended' and about[1] == STATE.QUEUED then
    redis.call('XADD', KEY.unfinished, about[2] .. '-0', 'request', request)
  elseif event == 'ended' and (about[1] == STATE.FAILURE or about[1] == STATE.REVOKED) then
    redis.call('XADD', KEY.unsuccessful, '*', 'request', request)
  end
end

-- The audit trail has all requests, in their order. An entry is {id, {'event', event, 'request', ids, …}}.
local from, events = '-', {accepted = true, held = true, ended = true}
repeat
  local entries = redis.call('XRANGE', KEY.audit, from, '+', 'COUNT', 1000)
  for _, entry in ipairs(entries) do
    local event = entry[2][2]
    for request in string.gmatch(events[event] and entry[2][4] or '', '%S+') do list(event, request) end
    from = '(' .. entry[1]
  end
until #entries == 0
redis.call('SET', KEY.format, args.format)
return 1
