-- uses: base, lines, purging
-- Store the URLs that a lookup found, and let requests into line whose last ids were looked up. A request that has been
-- cancelled since, or was looked up by another worker, stays as it is.
--
-- KEYS  1 prefix
-- ARGV  1 {lookups: [{request, first: position of its first id, after: that after the last one, -1 at the end,
--          urls: {file id: URL…}}…]}
-- Returns nothing.
for _, lookup in ipairs(cjson.decode(ARGV[1]).lookups) do
  local request, key = lookup.request, request_key(lookup.request)
  local about = redis.call('HMGET', key, 'lookup', 'source', 'sequence')
  if redis.call('ZSCORE', KEY.lookups, request) and tonumber(about[1] or -1) == lookup.first then
    store_urls(request_key(request, 'purge'), lookup.urls)
    redis.call('HDEL', key, 'lookup_failures')
    if lookup.after < 0 then
      redis.call('HDEL', key, 'lookup')
      redis.call('ZREM', KEY.lookups, request)
      enter_line(request, about[2], about[3])
    else
      redis.call('HSET', key, 'lookup', lookup.after)
      redis.call('ZADD', KEY.lookups, now_ms(), request)
    end
  end
end
