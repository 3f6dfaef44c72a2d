package ratelimit

import (
	"fmt"
	"strconv"
	"time"
)

// Algorithm is how a Limit counts.
type Algorithm int

const (
	// SlidingWindow admits never more than Max in any window of that length,
	// wherever it begins. It keeps the time of each unit: 7 bytes in Redis, 8 in
	// memory.
	SlidingWindow Algorithm = iota
	// FixedWindow counts from the first unit on and forgets all of them when the
	// window ends. Around that moment up to 2 Max pass within one window's length.
	FixedWindow
	// GCRA is the generic cell rate algorithm of ATM Forum Traffic Management 4.0,
	// a leaky bucket: up to Burst at once, and after that one each Window/Max. It
	// admits up to Burst + Max in a window.
	GCRA
)

// String returns the algorithm's name: "sliding window", "fixed window" or
// "GCRA".
func (a Algorithm) String() string {
	switch a {
	case SlidingWindow:
		return "sliding window"
	case FixedWindow:
		return "fixed window"
	case GCRA:
		return "GCRA"
	default:
		return "Algorithm(" + strconv.Itoa(int(a)) + ")"
	}
}

const (
	maxUnits  = 10_000_000           // of Max and Burst: keeps the script's products below 2^53
	maxWindow = 366 * 24 * time.Hour // of Window
	maxLimits = 16                   // in one call
	maxName   = 64                   // bytes
)

// Limit says how many units an identifier may take. What it has taken is
// remembered by algorithm, window and name: two limits of the same endpoint
// that differ in one of them count apart. Max and Burst can change while the
// counting goes on.
type Limit struct {
	// Max is how many units fit into a window: 1 to 10,000,000.
	Max int
	// Window is the length of the window: 1 ms to 366 days, in microseconds.
	Window time.Duration
	// Algorithm is how it counts. Defaults to SlidingWindow.
	Algorithm Algorithm
	// Burst is how many units may come at once. For GCRA only. Defaults to Max.
	Burst int
	// Name is the policy's name in headers and in Results, up to 64 printable
	// ASCII characters. Defaults to none, which headers show as "default".
	Name string
}

// PerSecond is a sliding window of n in any second.
func PerSecond(n int) Limit { return Limit{Max: n, Window: time.Second} }

// PerMinute is a sliding window of n in any minute.
func PerMinute(n int) Limit { return Limit{Max: n, Window: time.Minute} }

// PerHour is a sliding window of n in any hour.
func PerHour(n int) Limit { return Limit{Max: n, Window: time.Hour} }

// Named returns the limit under another name.
func (l Limit) Named(name string) Limit {
	l.Name = name
	return l
}

// By returns the limit with another algorithm.
func (l Limit) By(a Algorithm) Limit {
	l.Algorithm = a
	return l
}

// String describes the limit: "100 per 1m0s (sliding window)".
func (l Limit) String() string {
	text := fmt.Sprintf("%d per %v (%v", l.Max, l.Window, l.Algorithm)
	if l.Burst != 0 {
		text += ", burst " + strconv.Itoa(l.Burst)
	}
	if l.Name != "" {
		text = l.Name + ": " + text
	}
	return text + ")"
}

// policy is the name in headers.
func (l Limit) policy() string {
	if l.Name == "" {
		return "default"
	}
	return l.Name
}

func (l Limit) window() int64 { return l.Window.Microseconds() }

// most is how many units are admitted at once at most.
func (l Limit) most() int {
	if l.Algorithm == GCRA && l.Burst != 0 {
		return l.Burst
	}
	return l.Max
}

// check returns what is wrong with taking n units of the limit.
func (l Limit) check(n int) error {
	switch {
	case l.Max < 1 || l.Max > maxUnits:
		return fmt.Errorf("%w: Max is %d, not 1 to %d", ErrLimit, l.Max, maxUnits)
	case l.Window < time.Millisecond || l.Window > maxWindow:
		return fmt.Errorf("%w: Window is %v, not 1ms to %v", ErrLimit, l.Window, maxWindow)
	case l.Window%time.Microsecond != 0:
		return fmt.Errorf("%w: Window %v is not in whole microseconds", ErrLimit, l.Window)
	case l.Algorithm < SlidingWindow || l.Algorithm > GCRA:
		return fmt.Errorf("%w: no such algorithm: %v", ErrLimit, l.Algorithm)
	case l.Burst < 0 || l.Burst > maxUnits || l.Burst != 0 && l.Algorithm != GCRA:
		return fmt.Errorf("%w: Burst is %d; it is for GCRA, from 1 to %d", ErrLimit, l.Burst, maxUnits)
	case len(l.Name) > maxName:
		return fmt.Errorf("%w: Name of %d characters, at most %d are taken", ErrLimit, len(l.Name), maxName)
	case n < 1 || n > l.most():
		return fmt.Errorf("%w: %d units of %v", ErrLimit, n, l)
	}
	for _, c := range []byte(l.Name) {
		if c < ' ' || c > '~' {
			return fmt.Errorf("%w: Name %q is not printable ASCII", ErrLimit, l.Name)
		}
	}
	return nil
}

// checkAll does so for limits that are taken together.
func checkAll(limits []Limit, n int) error {
	if len(limits) == 0 || len(limits) > maxLimits {
		return fmt.Errorf("%w: %d limits in a call, not 1 to %d", ErrLimit, len(limits), maxLimits)
	}
	for i, l := range limits {
		if err := l.check(n); err != nil {
			return err
		}
		for _, other := range limits[:i] {
			if l.identity() == other.identity() {
				return fmt.Errorf("%w: %v and %v need different names", ErrLimit, other, l)
			}
		}
	}
	return nil
}

// identity is what tells limits of one endpoint apart.
type identity struct {
	algorithm Algorithm
	window    time.Duration
	name      string
}

func (l Limit) identity() identity { return identity{l.Algorithm, l.Window, l.Name} }
