-- Returns a tag's generation, and mints one where there is none. It outlasts the
-- entries that carry it; were it to go earlier, they would count as missing.
--
-- KEYS[1]  freshet:tag:…
-- ARGV[1]  a generation that was never used
-- ARGV[2]  how long it lasts at least, in milliseconds
-- reply    the generation
-- A quarter more, so that a busy tag is not prolonged by every call.
local longer = math.floor(tonumber(ARGV[2]) * 1.25)
local generation = redis.call('GET', KEYS[1])
if not generation then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', longer)
  return ARGV[1]
end
local left = redis.call('PTTL', KEYS[1])
if left >= 0 and left < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], longer)
end
return generation
