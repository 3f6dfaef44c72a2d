package near

import "time"

// instant is one moment by both of the machine's clocks, in nanoseconds. Only
// mono is used to measure; it counts from the layer's start. On most systems it
// stands still while the machine sleeps, which shows as a leap of wall.
type instant struct{ mono, wall int64 }

// lead is how far the wall clock is ahead. It changes little unless the machine
// slept or somebody set the clock.
func (i instant) lead() int64 { return i.wall - i.mono }

// maxLeap is the change of lead between two looks at the clock that counts as a
// sleep. It is far above what keeping time makes of it, and below any patience.
const maxLeap = int64(time.Second)

// newClock returns a clock that starts now. A clock that is read now and then
// by a goroutine would be cheaper and would be wrong after a pause.
func newClock() func() instant {
	began := time.Now()
	return func() instant {
		now := time.Now()
		return instant{mono: int64(now.Sub(began)), wall: now.UnixNano()}
	}
}
