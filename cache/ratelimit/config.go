package ratelimit

import (
	"log/slog"
	"strconv"
	"time"
)

// Failure is what a Limiter decides while Redis does not answer. Whatever it
// is, the call returns ErrUnavailable beside the Result.
type Failure int

const (
	// FailLocal lets this process go on by itself, with limits in its own memory:
	// n processes then admit up to n times as much. It is the zero value, as
	// neither of the others should happen to anybody who did not ask for it.
	FailLocal Failure = iota
	// FailOpen admits everything.
	FailOpen
	// FailClosed denies everything.
	FailClosed
)

// String returns "local", "open" or "closed".
func (f Failure) String() string {
	switch f {
	case FailLocal:
		return "local"
	case FailOpen:
		return "open"
	case FailClosed:
		return "closed"
	default:
		return "Failure(" + strconv.Itoa(int(f)) + ")"
	}
}

// Config configures a Limiter. The zero value works.
type Config struct {
	// Prefix is put before every key; braces in it become %7B and %7D. Defaults
	// to none.
	Prefix string
	// Failure is what is decided while Redis does not answer. Defaults to
	// FailLocal.
	Failure Failure
	// Timeout is how long a call waits for Redis, repetitions included. Defaults
	// to 100ms; more than 1s counts as 1s, as Redis does not know calls again for
	// longer.
	Timeout time.Duration
	// MemoryEntries is how many pairs of identifier and endpoint are kept in
	// memory at most, in memory mode and with FailLocal. When it is full, any of
	// them may be forgotten. Defaults to 100000.
	MemoryEntries int
	// RememberedDenials is how many denials are remembered at most, so that they
	// are repeated without asking Redis until they end. Defaults to 10000;
	// negative means none.
	RememberedDenials int
	// Observe is called once for each call that decides, from the goroutine that
	// made it, for metrics and traces. It must be quick. Defaults to nothing.
	Observe func(Event)
	// Logger receives what is unusual. Defaults to slog.Default().
	Logger *slog.Logger
}

// Event is one decision.
type Event struct {
	// Endpoint is what the call was about. Identifiers are not told: they are
	// many, and personal.
	Endpoint string
	// Allowed is what was decided.
	Allowed bool
	// Remembered is whether it was a denial repeated without asking Redis.
	Remembered bool
	// Took is how long it took, 0 for a remembered denial.
	Took time.Duration
	// Err is what failed, nil if nothing did.
	Err error
}

func (c *Config) setDefaults() {
	c.Timeout = min(or(c.Timeout, 100*time.Millisecond), time.Second)
	c.MemoryEntries = or(c.MemoryEntries, 100_000)
	c.RememberedDenials = or(c.RememberedDenials, 10_000)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
}

func or[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}
