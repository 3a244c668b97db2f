-- uses: base, audit
-- Delete the token of a name.
--
-- KEYS  1 prefix
-- ARGV  1 {name, by: who revokes it}
-- Returns 1 if there was one.
local args, stored = cjson.decode(ARGV[1]), redis.call('HGETALL', KEY.tokens)
for i = 1, #stored, 2 do
  local about = cjson.decode(stored[i + 1])
  if about.name == args.name then
    redis.call('HDEL', KEY.tokens, stored[i])
    write_audit('token_revoked', '', about.source or '', args.by, '', 0, {token = about.name, scopes = about.scopes})
    return 1
  end
end
return 0
