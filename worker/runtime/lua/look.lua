-- uses: base, queue/peek, limiter/read_limits
-- Look at accounts: the work that is due, the calls that could be made for it, and what is not published.
--
-- KEYS  1 prefix   2… prefixes of the accounts
-- ARGV  1 {chores: whether to look for what is not published}
--       2… for each account: what queue/peek takes, what limiter/read_limits takes
-- Returns for each account {ids that a claim could take now, groups that are due, ms of pause left, slots, 1 if
--         something is not published}; without work, pause and slots are 0.
local chores, found = cjson.decode(ARGV[1]).chores, {}
for i = 1, #KEYS - 1 do
  use_account(KEYS[1 + i])
  local work, limits = peek({ARGV[2 * i]}), {0, 0}
  if work[1] + work[2] > 0 then limits = read_limits({ARGV[2 * i + 1]}) end
  local unpublished = chores and redis.call('EXISTS', KEY.changed, KEY.outbox, KEY['purges:changed']) or 0
  found[i] = {work[1], work[2], limits[1], limits[2], math.min(1, unpublished)}
end
return found
