-- Add a line to the audit trail, whose fields are described in worker/reports/audit.py. Lines never change.
local function write_audit(event, request, source, by, state, total, detail)
  redis.call('XADD', event == 'ended' and KEY.ended or KEY.audit, '*', 'event', event, 'request', request, 'source', source, 'by', by,
    'state', state, 'total', total, 'detail', next(detail) and cjson.encode(detail) or '{}')
end
