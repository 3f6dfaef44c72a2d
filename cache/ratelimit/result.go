package ratelimit

import (
	"math/bits"
	"time"
)

// Result is what one limit says to one call.
type Result struct {
	// Allowed is whether the limit admits the call.
	Allowed bool
	// Limit is the limit in question.
	Limit Limit
	// Remaining is how many more units would be admitted right now.
	Remaining int
	// ResetAt is when the whole of the limit is there again if nothing more is
	// taken, by Redis' clock. It is the zero time where that is not known.
	ResetAt time.Time
	// ResetAfter is how long that takes from now on.
	ResetAfter time.Duration
	// RetryAfter is how long to wait until the same call would be admitted, if
	// nothing more is taken before. It is 0 if Allowed.
	RetryAfter time.Duration
}

// Results are those of several limits, in the order of the call.
type Results []Result

// Allowed reports whether all limits admit the call. Only then has it taken
// something, from all of them. It is false where there is no limit: a call without
// one is ErrLimit, and whoever overlooks that must not be let through.
func (rs Results) Allowed() bool {
	for i := range rs {
		if !rs[i].Allowed {
			return false
		}
	}
	return len(rs) > 0
}

// Tightest returns the result that the caller feels first: of those that deny
// the one to wait longest for, else the one with the fewest units left. It is
// the zero Result if there is none.
func (rs Results) Tightest() Result {
	var tightest Result
	for i, r := range rs {
		switch {
		case i == 0,
			r.RetryAfter > tightest.RetryAfter,
			r.RetryAfter == tightest.RetryAfter && r.Remaining < tightest.Remaining:
			tightest = r
		}
	}
	return tightest
}

// verdict is what a store says of a limit, in microseconds of its clock.
type verdict struct {
	retry int64 // when the units would be admitted; 0: now
	reset int64 // when nothing is taken any more; for GCRA the whole part of the TAT
	used  int64 // units taken; for GCRA the fraction of the TAT, in 1/Max µs
}

// result translates a verdict given at a time.
func (l Limit) result(now int64, v verdict) Result {
	r := Result{Allowed: v.retry == 0, Limit: l}
	if l.Algorithm == GCRA {
		r.Remaining = l.spare(now, v)
		if v.used > 0 {
			v.reset++
		}
	} else {
		r.Remaining = max(0, l.Max-int(v.used))
	}
	r.ResetAt = time.UnixMicro(v.reset)
	r.ResetAfter = time.Duration(max(0, v.reset-now)) * time.Microsecond
	if !r.Allowed {
		r.RetryAfter = time.Duration(max(1, v.retry-now)) * time.Microsecond
	}
	return r
}

// spare is how many units fit between the TAT and the latest that it may be.
func (l Limit) spare(now int64, v verdict) int {
	latest, part := l.later(now, 0, int64(l.most()))
	whole, part := latest-v.reset, part-v.used
	if part < 0 {
		whole, part = whole-1, part+int64(l.Max)
	}
	if whole < 0 {
		return 0
	}
	// (whole + part/Max) / (Window/Max)
	hi, lo := bits.Mul64(uint64(whole), uint64(l.Max))
	lo, carry := bits.Add64(lo, uint64(part), 0)
	hi += carry
	window := uint64(l.window())
	if hi >= window {
		return l.most()
	}
	units, _ := bits.Div64(hi, lo, window)
	return int(min(units, uint64(l.most())))
}
