-- uses: base, audit
-- Stop all calls of the account until `resume`.
--
-- KEYS  1 prefix
-- ARGV  1 {reason: text, by: who does it}
-- Returns 1 if it was not paused for this reason already, else 0.
local args = cjson.decode(ARGV[1])
if redis.call('HGET', KEY.account, 'paused') == args.reason then return 0 end
redis.call('HSET', KEY.account, 'paused', args.reason, 'paused_by', args.by, 'paused_since', now_ms())
write_audit('paused', '', '', args.by, '', 0, {reason = args.reason})
return 1
