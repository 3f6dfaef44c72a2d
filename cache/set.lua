-- Stores a value that no lease protects, and voids fills that are under way.
--
-- KEYS[1]  the key
-- KEYS[2]  its lease
-- ARGV[1]  the value
-- ARGV[2]  how long it lasts, in milliseconds
-- reply    1
redis.call('DEL', KEYS[2])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
