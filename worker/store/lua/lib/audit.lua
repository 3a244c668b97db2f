-- The audit trail, whose fields are described in worker/reports/audit.py. Lines never change.

local function write_audit(event, request, source, by, state, total, detail)
  redis.call('XADD', event == 'ended' and KEY.ended or KEY.audit, '*', 'event', event, 'request', request,
    'source', source, 'by', by, 'state', state, 'total', total,
    'detail', next(detail) and cjson.encode(detail) or '{}')
end

local noted, notes = {}, {} -- entries to write, as JSON, in order; entry → its requests

-- Write an entry at the end of the operation, which calls `write_noted`. Requests that differ only in their id share
-- it, at a third of the memory.
local function note_audit(event, request, source, by, state, total, detail)
  local entry = cjson.encode({event, source, by, state, tonumber(total), detail})
  if not notes[entry] then
    notes[entry] = {}
    noted[#noted + 1] = entry
  end
  table.insert(notes[entry], request)
end

local function write_noted()
  for _, entry in ipairs(noted) do
    local event, source, by, state, total, detail = unpack(cjson.decode(entry))
    write_audit(event, table.concat(notes[entry], ' '), source, by, state, total, detail)
  end
  noted, notes = {}, {}
end
