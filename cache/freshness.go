package cache

import (
	"context"
	"time"
)

type readOption func(*settings)

func (o readOption) apply(s *settings) { o(s) }
func (readOption) read()               {}

// AtLeast makes a read see every transaction that had committed when the token
// was taken. What is in the cache is used only where Redis holds the proof, a
// position that has passed the token; else GetOrSet calls its loader, and Get
// finds nothing. The zero Token asks for no more than that there is a position. Of
// several bounds of a call every one holds.
func AtLeast(t Token) ReadOption {
	return readOption(func(s *settings) { s.bounded, s.tokens = true, append(s.tokens[:len(s.tokens):len(s.tokens)], t) })
}

// Within makes a read see everything that was committed longer than d ago.
// Config.ClockSkew is taken off d. What is in the cache is used only where
// Redis holds the proof; else GetOrSet calls its loader, and Get finds nothing.
// The proof is renewed every postgres.mark_interval of Freshet's (100ms): with the
// defaults a d of less than 400ms or so is often not met, and one of 250ms never.
func Within(d time.Duration) ReadOption {
	return readOption(func(s *settings) {
		if s.bounded = true; s.within == nil || d < *s.within {
			s.within = &d
		}
	})
}

// OrStaleError makes a read with AtLeast or Within return ErrStale where
// nothing in the cache is proven to be fresh enough.
func OrStaleError() ReadOption {
	return readOption(func(s *settings) { s.staleError = true })
}

// satisfies reports whether what was read after this position meets the bound.
func (s *settings) satisfies(p Position, now time.Time, skew time.Duration) bool {
	for _, t := range s.tokens {
		if !t.reached(p) {
			return false
		}
	}
	// While a flush is due, the position's time vouches for nothing.
	return s.within == nil || p.Hold == 0 && now.Add(skew).Sub(p.Time) <= *s.within
}

// proven reports whether every one of the positions that were read before a value
// meets the bound.
func (c *Cache) proven(positions []string, s *settings) bool {
	for _, text := range positions {
		if text == "" {
			c.warnBlind()
			return false
		}
		p, err := decodePosition(text)
		if err != nil {
			c.cfg.Logger.Warn("the position cannot be read: reads with a bound go to the database", "error", err)
			return false
		}
		if !s.satisfies(p, time.Now(), c.cfg.ClockSkew) {
			return false
		}
	}
	if c.blind.Load() {
		c.blind.Store(false)
	}
	return len(positions) > 0
}

// warnBlind says, once until there is one, that reads with a bound find no
// position: all of them go to the database, which else nothing shows but the load
// there.
func (c *Cache) warnBlind() {
	if c.blind.Load() || c.blind.Swap(true) {
		return
	}
	if c.cfg.Source == "" {
		c.cfg.Logger.Warn("no Config.Source: reads with AtLeast or Within cannot be proven, and go to the database")
		return
	}
	c.cfg.Logger.Warn("no position of the Freshet instance in the store: reads with AtLeast or Within go to the database", "source", c.cfg.Source)
}

// LoadedAt says, inside a loader that reads a standby, how far the standby had
// replayed before it was read: pg_last_wal_replay_lsn(), taken in a statement of
// its own before the query and outside of any REPEATABLE READ transaction. What
// the loader returns is then stored only if that is beyond every change that the
// invalidator has sent deletes for; a loader that reads a standby and does not
// say so may store what is older than that. It needs Config.Source. Outside a
// loader it does nothing.
func LoadedAt(ctx context.Context, replayed LSN) {
	switch load := nestOf(ctx); {
	case load == nil:
	case load == loadOf(ctx):
		load.readStandby(ctx, replayed)
	default:
		load.noteStandby(replayed) // it has no lease, and those who share it may have
	}
}
