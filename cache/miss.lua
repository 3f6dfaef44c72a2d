-- What a reader does that found no value, or none of use.
--
-- KEYS[1]  the key
-- KEYS[2]  its lease
-- ARGV[1]  the reader's token
-- ARGV[2]  how long a new lease lasts, in milliseconds
-- ARGV[3]  what a value begins with that is of no use to the reader; empty: there
--          is none; FF F7 FF: the empty value is
-- ARGV[4]  1 if such a value stays where it is until there is another
-- ARGV[5]  the token of the same question, asked before and without a reply; may
--          be empty
-- reply    {0, value} there is a value by now; {1} known not to exist;
--          {2} the lease is the reader's; {3} it is somebody else's
local value = redis.call('GET', KEYS[1])
if value then
  local begins = value == '' and '\255\247\255' or string.sub(value, 1, #ARGV[3])
  if ARGV[3] == '' or begins ~= ARGV[3] then
    return {0, value}
  end
  if ARGV[4] ~= '1' then
    redis.call('DEL', KEYS[1])
  end
end
local lease = redis.call('GET', KEYS[2])
if not lease or lease == ARGV[5] then
  redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
  return {2}
end
if lease == 'absent' then
  return {1}
end
return {3}
