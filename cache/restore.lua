-- Writes bookkeeping again that Redis evicted.
--
-- KEYS[1]  freshet:position:…
-- KEYS[2]  freshet:counter:…
-- ARGV[1]  the position
-- ARGV[2]  the counter
-- reply    1
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('SET', KEYS[1], ARGV[1])
end
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('SET', KEYS[2], ARGV[2])
end
return 1
