-- Writes the position with its new owner and starts a new counter, unless this
-- master has forgotten something since it was loaded.
--
-- KEYS[1]  freshet:position:…
-- KEYS[2]  freshet:counter:…
-- ARGV[1]  the position when it was loaded, empty if there was none
-- ARGV[2]  the counter when it was loaded, empty if there was none
-- ARGV[3]  the new position
-- ARGV[4]  the new counter, "term:number:owner"
-- reply    {1} taken over; {-1, counter, position} load again
local position = redis.call('GET', KEYS[1]) or ''
local counter = redis.call('GET', KEYS[2]) or ''
local term, number = string.match(counter, '^([^:]+):(%d+):')
local loadedTerm, loadedNumber = string.match(ARGV[2], '^([^:]+):(%d+):')
local same
if counter == ARGV[4] then
  same = true -- this very command, sent before
elseif counter == '' or not loadedTerm then
  -- Without a counter to go by, nothing at all may have changed.
  same = counter == ARGV[2] and position == ARGV[1]
else
  -- The former owner may still be at work, so its counter may have gone on.
  same = term == loadedTerm and tonumber(number) >= tonumber(loadedNumber)
end
if not same then
  return {-1, counter, position}
end
redis.call('SET', KEYS[1], ARGV[3])
redis.call('SET', KEYS[2], ARGV[4])
return {1}
