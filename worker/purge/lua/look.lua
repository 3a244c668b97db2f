-- uses: base, quota
-- What there is to do now.
--
-- KEYS  1 prefix
-- ARGV  1 {month, quota: calls in a month, skips: whether files beyond the quota are skipped, window_ms: how long files
--          wait for others before they are planned}
-- Returns {1 if URLs are to be looked up, 1 if a call is due, 1 if files are to be planned}, each 0 if not.
local args, now = cjson.decode(ARGV[1]), now_ms()

local function is_due(set) return redis.call('ZCOUNT', set, '-inf', now) > 0 and 1 or 0 end

local function may_plan()
  if redis.call('EXISTS', KEY['purges:waiting']) == 0 or redis.call('EXISTS', KEY['purges:lock']) == 1 then return 0 end
  if now - tonumber(redis.call('GET', KEY['purges:since']) or 0) < args.window_ms then return 0 end
  return (args.skips or calls_in(args.month) < args.quota) and 1 or 0
end

return {is_due(KEY.lookups), is_due(KEY['purges:open']), may_plan()}
