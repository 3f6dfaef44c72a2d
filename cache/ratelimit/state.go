package ratelimit

// state is what has been taken of one limit, in memory. Its methods are those
// of allow.lua, and decide the same by a clock that is never set back.
type state struct {
	id identity
	// when and count are, for GCRA, the TAT and its fraction; for a fixed window,
	// its end and the units taken; for a sliding window, when the last unit was.
	when, count int64
	log         []int64 // sliding: the time of each unit
	lo          int     // sliding: the first of log that counts
	expires     int64   // nothing is left after that
}

// look says how it is at a time, and when n units would be admitted.
func (s *state) look(l Limit, now, n int64) verdict {
	switch l.Algorithm {
	case FixedWindow:
		return s.lookFixed(l, now, n)
	case GCRA:
		return s.lookGCRA(l, now, n)
	default:
		return s.lookSliding(l, now, n)
	}
}

// take takes n units, which look has admitted at the same time, and says how it
// is then.
func (s *state) take(l Limit, now, n int64, v verdict) verdict {
	switch l.Algorithm {
	case FixedWindow:
		if v.used == 0 {
			v.reset = now + l.window()
		}
		v.used += n
		s.when, s.count, s.expires = v.reset, v.used, v.reset
	case GCRA:
		v.reset, v.used = l.later(v.reset, v.used, n)
		s.when, s.count, s.expires = v.reset, v.used, v.reset+1
	default:
		s.push(now, n)
		v.used += n
		v.reset = s.when + l.window() + 1
		s.expires = v.reset
	}
	return v
}

func (s *state) lookFixed(l Limit, now, n int64) verdict {
	v := verdict{reset: now}
	if s.when > now {
		v.reset, v.used = s.when, s.count
	}
	if v.used+n > int64(l.Max) {
		v.retry = v.reset
	}
	return v
}

func (s *state) lookGCRA(l Limit, now, n int64) verdict {
	tat, part := s.when, s.count
	if part >= int64(l.Max) {
		tat, part = tat+1, 0 // Max was another
	}
	most, mostPart := l.later(now, 0, int64(l.most()))
	if tat < now {
		tat, part = now, 0
	}
	v := verdict{reset: tat, used: part}
	tat, part = l.later(tat, part, n)
	if tat > most || tat == most && part > mostPart {
		v.retry = now + tat - most
		if part > mostPart {
			v.retry++
		}
	}
	return v
}

// later adds n units' time to a time with a fraction.
func (l Limit) later(when, part, n int64) (int64, int64) {
	size := int64(l.Max)
	part += l.window() % size * n
	return when + l.window()/size*n + part/size, part % size
}

func (s *state) lookSliding(l Limit, now, n int64) verdict {
	// An entry counts for the window and a microsecond, as clocks round down.
	counts := func(i int) bool { return s.log[i]+l.window() >= now }
	switch size := len(s.log); {
	case s.lo == size:
	case !counts(size - 1):
		s.log, s.lo = s.log[:0], 0
	case !counts(s.lo):
		// The first that counts is after lo, and size - 1 at the latest.
		old, step := s.lo, 1
		s.lo = min(s.lo+1, size-1)
		for s.lo < size-1 && !counts(s.lo) {
			step *= 2
			old, s.lo = s.lo, min(s.lo+step, size-1)
		}
		for s.lo-old > 1 {
			if middle := (old + s.lo) / 2; counts(middle) {
				s.lo = middle
			} else {
				old = middle
			}
		}
	}
	v := verdict{reset: now, used: int64(len(s.log) - s.lo)}
	if v.used > 0 {
		v.reset = s.when + l.window() + 1
	}
	if over := v.used + n - int64(l.Max); over > 0 {
		v.retry = s.log[s.lo+int(over)-1] + l.window() + 1
	}
	return v
}

// push appends n units of a time to the log.
func (s *state) push(now, n int64) {
	if s.lo > 0 && 2*s.lo >= len(s.log) {
		s.log = s.log[:copy(s.log, s.log[s.lo:])]
		s.lo = 0
	}
	for range n {
		s.log = append(s.log, now)
	}
	s.when = now
}
