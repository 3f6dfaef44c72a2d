-- Adds to a counter and voids fills that are under way.
--
-- KEYS[1]  the key
-- KEYS[2]  its lease
-- ARGV[1]  what to add
-- ARGV[2]  how long a new counter lasts, in milliseconds
-- reply    the sum
redis.call('DEL', KEYS[2])
local new = redis.call('EXISTS', KEYS[1]) == 0
local sum = redis.call('INCRBY', KEYS[1], ARGV[1])
if new then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return sum
