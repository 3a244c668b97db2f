-- uses: base, enqueueing
-- Enqueue requests with all their ids, each as `enqueue` does.
--
-- KEYS  1 prefix
-- ARGV  1 {requests: [{request, source, reason, hold_ms, canvas, origin, result_ttl_ms, guard, purge, priority,
--          urls, file_ids}…]}
--       2… first result of each request
-- Returns what `enqueue` returns, for each request.
return enqueue_all(cjson.decode(ARGV[1]).requests, {unpack(ARGV, 2)}, now_ms())
