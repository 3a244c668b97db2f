-- uses: limiter/record, queue/settle, limiter/acquire, queue/claim, limiter/give_back
-- End one batch and begin the next in one step. Requests that become final are published first: then none is begun, so
-- that a slot is taken as the last act before its call.
--
-- KEYS  1 prefix
-- ARGV  1 {begin: whether to begin a batch}
--       2 what limiter/record takes, or '' without a call to record   3 what queue/settle takes, or '' without a claim
--       4 what limiter/acquire takes   5 what queue/claim takes, both '' unless a batch is to begin
-- Returns {ids of requests that are final now, what limiter/acquire returns or {}, what queue/claim returns or {}}
local finished = {}
if ARGV[2] ~= '' then record({ARGV[2]}) end
if ARGV[3] ~= '' then finished = settle({ARGV[3]}) end
if #finished > 0 or not cjson.decode(ARGV[1]).begin then return {finished, {}, {}} end

local slot = acquire({ARGV[4]})
if slot[1] < 0 then return {finished, slot, {}} end
local claimed = claim({ARGV[5]})
if #claimed == 0 then give_back({ARGV[4]}) end
return {finished, slot, claimed}
