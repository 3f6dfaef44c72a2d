-- Stores what was loaded under a lease, unless the lease is gone or another's.
--
-- KEYS[1]  the key
-- KEYS[2]  its lease
-- ARGV[1]  the token
-- ARGV[2]  the value
-- ARGV[3]  how long it lasts, in milliseconds
-- reply    1 stored, 0 refused
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[2])
return 1
