-- Removes the value, and remembers that there is nothing to load, unless the
-- lease is gone or another's.
--
-- KEYS[1]  the key
-- KEYS[2]  its lease
-- ARGV[1]  the token
-- ARGV[2]  how long it is remembered, in milliseconds; 0 only drops the lease
-- reply    1 done, 0 refused
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[2])
else
  redis.call('SET', KEYS[2], 'absent', 'PX', ARGV[2])
end
return 1
