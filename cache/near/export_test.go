package near

import (
	"time"

	"github.com/freshet-dev/freshet/cache"
)

// SetEvery sets the time between the layer's heartbeats.
func (c *Config) SetEvery(d time.Duration) { c.hooks.every = d }

// SetClock sets what tells the time since the start, without and with the time
// that the machine slept.
func (c *Config) SetClock(clock func() (mono, wall time.Duration)) {
	c.hooks.clock = func() instant {
		mono, wall := clock()
		return instant{mono: int64(mono), wall: int64(wall)}
	}
}

// SetEvery sets the time between heartbeats. It must come before Run.
func (a *Announcer) SetEvery(d time.Duration) { a.every = d }

// Lose does what a broadcast does that gets lost.
func (a *Announcer) Lose() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.n++
}

// Sent returns the name of the sender and the number of its last broadcast.
func (a *Announcer) Sent() (sender string, n uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sender, a.n
}

// Announcer returns what tells the others.
func (l *Layer) Announcer() *Announcer { return l.announcer }

// Heard returns the number that the layer knows a sender to have reached.
func (l *Layer) Heard(sender string) (n uint64, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.ear.senders[sender]
	if s == nil {
		return 0, false
	}
	return s.n, true
}

// InvalidatedUnheard is Invalidated with a broadcast that gets lost.
func (l *Layer) InvalidatedUnheard(i cache.Invalidation) {
	l.shelf.remove(i)
	l.announcer.Lose()
}

// Beat sends a heartbeat now.
func (l *Layer) Beat() { l.beat() }

// SetPendingLimit bounds how many messages wait to be heard.
func (l *Layer) SetPendingLimit(messages int) error { return l.sub.SetPendingLimits(messages, -1) }

// MaxMatches is how often patterns are compared with keys at most.
const MaxMatches = maxMatches

// Dropped returns how many messages the client dropped.
func (l *Layer) Dropped() int {
	n, _ := l.sub.Dropped()
	return n
}

// Ear is what follows what is heard.
type Ear = ear

// NewEar returns one with a patience, in its clock's units.
func NewEar(self string, patience time.Duration) *Ear { return newEar(self, patience, false) }

// Until returns up to when the ear vouches for having heard everything.
func (e *ear) Until() int64 {
	until, _ := e.until()
	return until
}

// Beat is a heartbeat heard at a time.
func (e *ear) Beat(h Heartbeat, mono int64) (missed string) { return e.heartbeat(&h, mono) }

// Deafen says that something was lost, perhaps, up to a time.
func (e *ear) Deafen(mono int64) { e.deafen(mono, "a test") }
