-- uses: base, audit
-- End the operator's pause, and let one call try at once where an outage or a refused key is waited for.
--
-- KEYS  1 prefix
-- ARGV  1 {by: who does it}
-- Returns 1 if there was anything to end, else 0.
local args = cjson.decode(ARGV[1])
if redis.call('HDEL', KEY.account, 'paused', 'paused_by', 'paused_since', 'trouble_until') == 0 then return 0 end
write_audit('resumed', '', '', args.by, '', 0, {})
return 1
