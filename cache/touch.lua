-- Sets how long a value lasts from now, and keeps the grace of an entry that has
-- one: see entry.go for the header.
--
-- KEYS[1]  the key
-- ARGV[1]  how long it lasts, in milliseconds
-- reply    1 done, 0 there is no value, or it has expired
local left = redis.call('PTTL', KEYS[1])
if left == -2 then
  return 0
end
local head = redis.call('GETRANGE', KEYS[1], 0, 20)
local grace = 0
if string.sub(head, 1, 2) == '\255\247' and math.floor(string.byte(head, 3) / 4) % 2 == 1 then
  local scale = 1
  for i = 12, #head do
    local digit = string.byte(head, i)
    grace = grace + digit % 128 * scale
    if digit < 128 then
      break
    end
    scale = scale * 128
  end
end
if left >= 0 and left <= grace then
  return 0
end
return redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ARGV[1] + grace))
