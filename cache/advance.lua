-- Advances the counter behind the deletes of a pipeline. A master that forgets
-- deletes forgets what the counter was behind them.
--
-- KEYS[1]  freshet:counter:…
-- KEYS[2]  freshet:position:…
-- ARGV[1]  what the counter was left at
-- ARGV[2]  what it becomes
-- reply    {1} advanced, or had been by the same pipeline sent before;
--          {0, counter, position} missing; {-1, counter, position} another value
local counter = redis.call('GET', KEYS[1])
if counter == ARGV[2] then
  return {1}
end
if counter == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2])
  return {1}
end
return {counter and -1 or 0, counter or '', redis.call('GET', KEYS[2]) or ''}
