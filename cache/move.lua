-- Moves the position, if the counter and the old position are what the owner
-- left there.
--
-- KEYS[1]   freshet:position:…
-- KEYS[2]   freshet:counter:…
-- ARGV[1]   what the counter was left at
-- ARGV[2]   what it may also be, after a pipeline without a reply
-- ARGV[3]   the new position
-- ARGV[4…]  the old position: the last that was confirmed, and attempts since
--           then that had no reply
-- reply     {1} moved; {0, counter, position} one of them missing;
--           {-1, counter, position} one of them has another value
local position = redis.call('GET', KEYS[1])
local counter = redis.call('GET', KEYS[2])
if counter and counter ~= ARGV[1] and counter ~= ARGV[2] then
  return {-1, counter, position or ''}
end
if not counter or not position then
  return {0, counter or '', position or ''}
end
if position == ARGV[3] then
  return {1}
end
for i = 4, #ARGV do
  if position == ARGV[i] then
    redis.call('SET', KEYS[1], ARGV[3])
    return {1}
  end
end
return {-1, counter, position}
