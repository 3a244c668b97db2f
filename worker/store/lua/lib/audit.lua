-- One line of the audit trail (worker/reports/audit.py tells what each field holds). Nothing rewrites it.
local function write_audit(event, request, source, by, state, total, detail)
  redis.call('XADD', KEY.audit, '*', 'event', event, 'request', request, 'source', source, 'by', by,
    'state', state, 'total', total, 'detail', next(detail) and cjson.encode(detail) or '{}')
end
