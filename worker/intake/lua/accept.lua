-- uses: base, enqueueing
-- Accept what was taken under a token, all at once: enqueue the requests, hand the unusual messages on, unchanged and in
-- order, and let go of the list. Does nothing when the token holds no list any more: it was accepted, or taken over.
--
-- KEYS  1 prefix   2–6 places of unusual messages: four lists of their queue, and where what is unreadable is put aside
--       7… where each first result goes
-- ARGV  1 {token, unusual: [[index of the message, of its place]…], requests: [{request, source, reason, hold_ms, canvas,
--          origin, callback, guard, file_ids}…]}   2… first results, one for each request
-- Returns, for each request, what `enqueue` returns.
local asked, now, replies = cjson.decode(ARGV[1]), now_ms(), {}
local list = KEY['intake:'] .. asked.token
if redis.call('EXISTS', list) == 0 then return replies end
local tally = new_tally()
for i, request in ipairs(asked.requests) do
  replies[i] = enqueue_whole(tally, request, request.file_ids, KEYS[6 + i], ARGV[1 + i], now)
end
write_tally(tally)
for _, message in ipairs(asked.unusual) do
  redis.call('LPUSH', KEYS[2 + message[2]], redis.call('LINDEX', list, message[1]))
end
redis.call('LTRIM', KEYS[6], 0, 999)
redis.call('DEL', list)
redis.call('ZREM', KEY.intake, asked.token)
return replies
