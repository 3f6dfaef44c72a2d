-- Raises how far ahead of the position deletes have been sent to this master,
-- before the deletes themselves. Never lowers it within an epoch. Where Redis
-- has no memory for it, it is removed: a missing value vouches for nothing.
--
-- KEYS[1]  freshet:ahead:…
-- ARGV[1]  epoch
-- ARGV[2]  LSN, 16 lower-case hexadecimal digits
-- reply    1, or the error of the SET
local epoch, lsn = string.match(redis.call('GET', KEYS[1]) or '', '^(%S+) (%x+)$')
if epoch == ARGV[1] and lsn >= ARGV[2] then
  return 1
end
local reply = redis.pcall('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2])
if reply.err then
  redis.call('DEL', KEYS[1])
  return reply
end
return 1
