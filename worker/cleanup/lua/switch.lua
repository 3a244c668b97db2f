-- uses: base, audit
-- Switch all cleanup rules off, or on again. Runs that are under way notice at their next page.
--
-- KEYS  1 prefix
-- ARGV  1 '1' for on   2 who does it
-- Returns 1.
if ARGV[1] == '1' then
  redis.call('DEL', KEY.cleanup)
else
  redis.call('HSET', KEY.cleanup, 'off', '1', 'off_by', ARGV[2], 'off_at', now_ms())
end
write_audit(ARGV[1] == '1' and 'cleanup_on' or 'cleanup_off', '', '', ARGV[2], '', 0, {})
return 1
