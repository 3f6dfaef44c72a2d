-- What a reader does that found no value.
--
-- KEYS[1]  the key
-- KEYS[2]  its lease
-- ARGV[1]  the reader's token
-- ARGV[2]  how long a new lease lasts, in milliseconds
-- reply    {0, value} there is a value by now; {1} known not to exist;
--          {2} the lease is the reader's; {3} it is somebody else's
local value = redis.call('GET', KEYS[1])
if value then
  return {0, value}
end
local lease = redis.call('GET', KEYS[2])
if not lease then
  redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
  return {2}
end
if lease == ARGV[1] then
  return {2} -- this very command, sent before
end
if lease == 'absent' then
  return {1}
end
return {3}
