package ratelimit

import "sync/atomic"

// Stats counts what a Limiter has done since it was made.
type Stats struct {
	Allowed    int64 // calls that were admitted
	Denied     int64 // calls that were not, remembered ones included
	Remembered int64 // denials repeated without asking Redis
	Errors     int64 // calls that Redis did not answer; Config.Failure decided
	Unasked    int64 // of those: the ones that did not try, as others had failed
}

type counters struct{ allowed, denied, remembered, errors, unasked atomic.Int64 }

// Stats returns a snapshot of the counters.
func (l *Limiter) Stats() Stats {
	n := &l.counters
	return Stats{
		Allowed: n.allowed.Load(), Denied: n.denied.Load(), Remembered: n.remembered.Load(),
		Errors: n.errors.Load(), Unasked: n.unasked.Load(),
	}
}
