-- uses: base
-- Forget that the purge counts of a request changed, unless they have changed again since its report was read.
--
-- KEYS  1 prefix
-- ARGV  1 {changes: [[request, number]…]}
-- Returns nothing.
for _, change in ipairs(cjson.decode(ARGV[1]).changes) do
  if tonumber(redis.call('ZSCORE', KEY['purges:changed'], change[1]) or 0) == change[2] then
    redis.call('ZREM', KEY['purges:changed'], change[1])
  end
end
