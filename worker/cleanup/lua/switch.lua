-- uses: base, audit
-- Switch all cleanup rules off, or on again. An active run notices at its next page.
--
-- KEYS  1 prefix
-- ARGV  1 {on: boolean, by: the operator}
-- Returns 1.
local args = cjson.decode(ARGV[1])
if args.on then
  redis.call('DEL', KEY.cleanup)
else
  redis.call('HSET', KEY.cleanup, 'off', '1', 'off_by', args.by, 'off_at', now_ms())
end
write_audit(args.on and 'cleanup_on' or 'cleanup_off', '', '', args.by, '', 0, {})
return 1
