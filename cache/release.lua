-- Drops a lease, or prolongs it, unless it is gone or another's.
--
-- KEYS[1]  the lease
-- ARGV[1]  the token
-- ARGV[2]  how long it lasts from now, in milliseconds; 0 drops it
-- reply    1 done, 0 refused
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[2] == '0' then
  return redis.call('DEL', KEYS[1])
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
