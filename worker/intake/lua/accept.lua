-- uses: base, enqueueing
-- Accept the messages taken under a token, atomically: enqueue their requests, forward the unusual ones unchanged and
-- in order, and delete the list. Does nothing when the token has no list: it was accepted before, or taken over.
--
-- KEYS  1 prefix   2–5 lists of the queue of unusual messages   6 list of unreadable messages
--       7… prefixes of the accounts of the requests
-- ARGV  1 {token, unusual: [[index in the list, index of its target: 0 is KEYS[2]]…], accounts: for each account, in
--          the order of KEYS, [{request, source, reason, hold_ms, canvas, origin, result_ttl_ms, callback, guard,
--          purge, priority, urls, file_ids}…]}
--       2… first result of each request
-- Returns what `enqueue` returns, for each request; {} when there was no list.
local asked, now = cjson.decode(ARGV[1]), now_ms()
local list = KEY['intake:'] .. asked.token
if redis.call('EXISTS', list) == 0 then return {} end

local replies, first = {}, 2
for i, requests in ipairs(asked.accounts) do
  use_account(KEYS[6 + i])
  local results = {unpack(ARGV, first, first + #requests - 1)}
  for _, reply in ipairs(enqueue_all(requests, results, now)) do replies[#replies + 1] = reply end
  first = first + #requests
end

use_account(KEYS[1])
for _, message in ipairs(asked.unusual) do
  redis.call('LPUSH', KEYS[2 + message[2]], redis.call('LINDEX', list, message[1]))
end
redis.call('LTRIM', KEYS[6], 0, 999)
redis.call('DEL', list)
redis.call('ZREM', KEY.intake, asked.token)
return replies
