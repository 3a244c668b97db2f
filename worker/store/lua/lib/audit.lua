-- The audit trail, whose fields are described in worker/reports/audit.py. Lines never change.

local function write_audit(event, request, source, by, state, total, detail)
  redis.call('XADD', event == 'ended' and KEY.ended or KEY.audit, '*', 'event', event, 'request', request,
    'source', source, 'by', by, 'state', state, 'total', total,
    'detail', next(detail) and cjson.encode(detail) or '{}')
end

local noted, notes = {}, {} -- entries to write, in order; the same by their text

-- Write an entry at the end of the operation, which calls `write_noted`. Requests that differ only in their id share
-- it, at a third of the memory.
local function note_audit(event, request, source, by, state, total, detail)
  local text = table.concat({event, source, by, state, total, next(detail) and cjson.encode(detail) or ''}, '\n')
  if not notes[text] then
    local entry = {event = event, source = source, by = by, state = state, total = total, detail = detail}
    entry.requests = {}
    notes[text] = entry
    noted[#noted + 1] = notes[text]
  end
  table.insert(notes[text].requests, request)
end

local function write_noted()
  for _, it in ipairs(noted) do
    write_audit(it.event, table.concat(it.requests, ' '), it.source, it.by, it.state, it.total, it.detail)
  end
  noted, notes = {}, {}
end
