-- Return the place of a call that was not made.
--
-- KEYS  1 prefix
-- ARGV  1 endpoint   2 call id
-- Returns 1 if there was one.
return redis.call('ZREM', KEY['calls:'] .. ARGV[1], ARGV[2])
