-- uses: base, audit
-- Store a token, unless another has its name.
--
-- KEYS  1 prefix
-- ARGV  1 {digest: SHA-256 of the token, about: {name, scopes, by, source, account; the last
--          two may be omitted}}
-- Returns 1 if the token is stored, 0 if the name is taken.
local args = cjson.decode(ARGV[1])
local digest, about = args.digest, args.about
if redis.call('HEXISTS', KEY.tokens, digest) == 1 then return 1 end
for _, stored in ipairs(redis.call('HVALS', KEY.tokens)) do
  if cjson.decode(stored).name == about.name then return 0 end
end
about.created_at = now_ms()
redis.call('HSET', KEY.tokens, digest, cjson.encode(about))
write_audit('token_created', '', about.source or '', about.by, '', 0, {token = about.name, scopes = about.scopes})
return 1
