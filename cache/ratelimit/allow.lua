-- Takes n units from each of several limits of one identifier and endpoint, or
-- from none; or only looks.
--
-- KEYS[1]    the hash: a field per limit with its state; "i" with what is said
--            below; and ids of calls that took something
-- KEYS[2..]  the log of each sliding limit, in the order of the limits
-- ARGV[1]    packed, big-endian: attempt (1 byte, 0 the first), take (1 byte, 0
--            only look), id of the call (8), n (4), in tests what time it is (8,
--            else 0), number of limits (1); then for each limit its algorithm (1
--            byte: s, f, g), max (4), burst (4), window in microseconds (8)
-- ARGV[2..]  the field of each limit
-- reply      packed: outcome (1 byte: 0 denied, 1 allowed), the time (8); for
--            each limit 8 bytes each: when it would admit n (0: now), when it is
--            unused again, and units used (sliding, fixed) or the fraction of a
--            microsecond that belongs to that time, in 1/max (GCRA)
--
-- All times are microseconds of this server's clock. State that is more than a
-- window in the future is from before the clock was set back, and void. A log
-- holds the time of each unit as 7 bytes, oldest first. Field "i" is: when the
-- hash expires (7), when the bank of ids in use was begun (7), which it is (1),
-- how many ids it holds (4), how many the other does (4). Banks change after a
-- second, so that an id is known for one second at least. An id is in field
-- 2 * index + bank.
local call, pack, read = redis.call, struct.pack, struct.unpack
local key, spec = KEYS[1], ARGV[1]
local attempt, take, id, n, now, count, at = read('>BBc8I4I8B', spec)
if now == 0 then
	local time = call('TIME')
	now = time[1] * 1000000 + time[2]
end
local states = call('HMGET', key, 'i', unpack(ARGV, 2))
local expires, began, bank, ids, others = 0, 0, 0, 0, 0
if states[1] then expires, began, bank, ids, others = read('>I7I7BI4I4', states[1]) end

-- A command that came before, and whose reply was lost on the way, only looks.
local repeated = false
if attempt > 0 then
	local slots = {}
	for i = 0, ids - 1 do slots[#slots + 1] = 2 * i + bank end
	for i = 0, others - 1 do slots[#slots + 1] = 2 * i + 1 - bank end
	for i = 1, #slots, 200 do
		for _, known in ipairs(call('HMGET', key, unpack(slots, i, math.min(i + 199, #slots)))) do
			if known == id then repeated, n, take = true, 0, 0 end
		end
		if repeated then break end
	end
end

-- before and after are what is replied of each limit if nothing is taken and if
-- n is; write is what the hash gets; logs are the sliding limits to append to.
local allowed, before, after, write, logs = true, '', '', {}, nil
local needed = now + 2000000
for i = 1, count do
	local algorithm, max, burst, window
	algorithm, max, burst, window, at = read('>BI4I4I8', spec, at)
	local state = states[i + 1]
	-- How it is, how it would be, and when n would be admitted.
	local reset, used, reset2, used2, retry = now, 0, 0, 0, 0
	if algorithm == 103 then
		-- GCRA (ATM Forum, Traffic Management 4.0): the theoretical arrival time is
		-- reset + used / max, and may be as late as most + mostPart / max. In whole
		-- numbers, of which none exceeds 2^53.
		local whole, rest = math.floor(window / max), window % max
		local most, mostPart = rest * burst, 0
		most, mostPart = now + whole * burst + math.floor(most / max), most % max
		if state then
			reset, used = read('>I7I4', state)
			if used >= max then reset, used = reset + 1, 0 end -- max was another
			if reset < now or reset > most + window then reset, used = now, 0 end
		end
		used2 = used + rest * n
		reset2, used2 = reset + whole * n + math.floor(used2 / max), used2 % max
		if reset2 > most or reset2 == most and used2 > mostPart then
			retry = now + reset2 - most
			if used2 > mostPart then retry = retry + 1 end
		end
		write[2 * i] = pack('>I7I4', reset2, used2)
	elseif algorithm == 102 then
		-- Fixed window, from the first unit on.
		if state then
			local ends, units = read('>I7I4', state)
			if ends > now and ends <= now + 2 * window then reset, used = ends, units end
		end
		used2, reset2 = used + n, used > 0 and reset or now + window
		if used2 > max then retry = reset2 end
		write[2 * i] = pack('>I7I4', reset2, used2)
	else
		-- Sliding window: entries lo to hi - 1 of the log, the last of which is of
		-- the time last. The log expires at till.
		logs = logs or {}
		local log = KEYS[#logs + 2]
		local lo, hi, last, till = 0, 0, 0, 0
		if state then lo, hi, last, till = read('>I4I4I7I7', state) end
		-- An entry counts for the window and a microsecond, as clocks round down.
		local function counts(k)
			local entry = call('GETRANGE', log, 7 * k, 7 * k + 6)
			return #entry < 7 or read('>I7', entry) + window >= now, entry
		end
		if last + window < now or last > now + window then
			lo = hi -- all are old
		elseif lo < hi then
			local live, entry = counts(lo)
			if #entry < 7 then
				lo = hi -- the log was evicted
			elseif not live then
				-- The first that counts is after lo, and hi - 1 at the latest.
				local old, step = lo, 1
				lo = math.min(lo + 1, hi - 1)
				while lo < hi - 1 and not counts(lo) do
					step = step * 2
					old, lo = lo, math.min(lo + step, hi - 1)
				end
				while lo - old > 1 do
					local middle = math.floor((old + lo) / 2)
					if counts(middle) then lo = middle else old = middle end
				end
			end
		end
		used = hi - lo
		used2 = used + n
		if used > 0 then reset = last + window + 1 end
		if used2 > max then
			local _, entry = counts(hi + n - max - 1)
			retry = read('>I7', entry) + window + 1
		end
		if used == 0 or last < now then last = now end
		reset2 = last + window + 1
		logs[#logs + 1] = { log, i, lo, hi, last, till, window }
		write[2 * i] = ''
	end
	write[2 * i - 1] = ARGV[i + 1]
	if retry > 0 then allowed = false end
	if reset2 > needed then needed = reset2 end
	if retry > 0 or count > 1 or take == 0 then before = before .. pack('>I8I8I8', retry, reset, used) end
	if allowed and take == 1 then after = after .. pack('>I8I8I8', 0, reset2, used2) end
end
if not allowed or take == 0 then
	return pack('>BI8', (allowed or repeated) and 1 or 0, now) .. before
end

for _, l in ipairs(logs or {}) do
	local log, i, lo, hi, last, till, window = unpack(l)
	local entries, ttl = string.rep(pack('>I7', last), n), math.ceil(window * 1.25 / 1000) + 1000
	if lo == hi or lo > 500 and 2 * lo > hi then
		-- Begin it anew, without what is old.
		if lo < hi then entries = call('GETRANGE', log, 7 * lo, -1) .. entries end
		call('SET', log, entries, 'PX', ttl)
		lo, hi, till = 0, hi - lo, now + 1000 * ttl
	else
		call('APPEND', log, entries)
		if last + window >= till then
			call('PEXPIRE', log, ttl)
			till = now + 1000 * ttl
		end
	end
	write[2 * i] = pack('>I4I4I7I7', lo, hi + n, last, till)
end
if now - began > 1000000 or now < began then
	began, bank, ids, others = now, 1 - bank, 0, ids
end
local ttl
if needed > expires then
	ttl = math.ceil((needed - now) * 1.25 / 1000) + 1000
	expires = now + 1000 * ttl
end
call('HSET', key, 'i', pack('>I7I7BI4I4', expires, began, bank, ids + 1, others), 2 * ids + bank, id, unpack(write))
if ttl then call('PEXPIRE', key, ttl) end
return pack('>BI8', 1, now) .. after
