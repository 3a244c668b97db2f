-- uses: base, enqueueing
-- Accept requests with all their ids, each as `enqueue` does.
--
-- KEYS  1 prefix
-- ARGV  1 {requests: [{request, source, reason, hold_ms, canvas, origin, result_ttl_ms, guard, file_ids}…]}
--       2… first results, one for each request, as Celery's callers find them
-- Returns, for each request, what `enqueue` returns.
return enqueue_all(cjson.decode(ARGV[1]).requests, {unpack(ARGV, 2)}, now_ms())
