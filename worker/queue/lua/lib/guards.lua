-- Guards: what a source may have deleted without approval. {max_files, usual_factor, max_share}; 0 is no bound.

-- The median size of the source's last accepted requests, and their number; nil, 0 when there are none.
local function usual_size(source)
  local sizes = redis.call('LRANGE', KEY['source:'] .. source .. ':sizes', 0, -1)
  if #sizes == 0 then return nil, 0 end
  for i, size in ipairs(sizes) do sizes[i] = tonumber(size) end
  table.sort(sizes)
  local low, high = math.floor((#sizes + 1) / 2), math.ceil((#sizes + 1) / 2)
  return (sizes[low] + sizes[high]) / 2, #sizes
end

local function remember_size(source, total)
  redis.call('LPUSH', KEY['source:'] .. source .. ':sizes', total)
  redis.call('LTRIM', KEY['source:'] .. source .. ':sizes', 0, 9)
end

-- Which bounds of the guard `total` files exceed: a list of reasons in words. A median of 0 counts as 1.
local function beyond_guard(guard, source, total)
  local reasons, max_files, factor = {}, guard.max_files, guard.usual_factor
  if max_files > 0 and total > max_files then
    reasons[#reasons + 1] = string.format('%d files are more than max_files = %d', total, max_files)
  end
  local usual, known = usual_size(source)
  if factor > 0 and usual and total > factor * math.max(1, usual) then
    reasons[#reasons + 1] = string.format(
      '%d files are more than %g times the usual %g (median of the last %d)', total, factor, usual, known)
  end
  return reasons
end

-- Add a reason if `total` files exceed a share of the library, as last counted, or if it has not been counted.
local function beyond_share(reasons, max_share, total)
  if max_share <= 0 or max_share >= 1 then return reasons end
  local files = tonumber(redis.call('HGET', KEY.library, 'files') or -1)
  if files < 0 then
    reasons[#reasons + 1] = 'max_share is set, and the library has not been counted yet'
  elseif total > max_share * files then
    reasons[#reasons + 1] = string.format(
      '%d files are more than %g (max_share) of the library with %d', total, max_share, files)
  end
  return reasons
end
