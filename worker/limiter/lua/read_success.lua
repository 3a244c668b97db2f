-- uses: base, trouble
-- When a call of the account last succeeded, and whether most do. Changes nothing.
--
-- KEYS  1 prefix
-- ARGV  1 endpoint
-- Returns {ms for which the endpoint is paused, ms since the last success or -1, '1' if most calls go well}
return pause_and_success(ARGV[1], now_ms())
