package cache

import (
	"log/slog"
	"time"
)

// Config configures a Cache. The zero value works.
type Config struct {
	// Source is the name of the Freshet instance that keeps this cache fresh, as
	// in its configuration. Its position vouches for reads with AtLeast or Within,
	// and for no more than the keys that its rules name: keys of two instances
	// belong into two caches. Defaults to none: then nothing in the cache can be
	// proven, reads with a bound go to the database, and what loaders read of other
	// keys is taken as it is.
	Source string
	// Prefix is put before every key and tag. It must be cache.prefix of that
	// instance, or its rules name other keys than these. Defaults to none.
	Prefix string
	// Codec turns values into what is stored. Defaults to JSON.
	Codec Codec
	// LeaseTTL is how long a lease lasts that nobody prolongs, so how long
	// others wait for a process that died while it loaded. A loader's lease is
	// prolonged at a third of it. Defaults to 3s.
	LeaseTTL time.Duration
	// LoadTimeout is how long a loader may take. It is independent of the
	// callers' contexts. Defaults to 30s.
	LoadTimeout time.Duration
	// WaitLimit is how long a caller waits for another process that loads the
	// same key, before it loads for itself and stores nothing. Defaults to 5s.
	WaitLimit time.Duration
	// NegativeTTL is how long it is remembered that a loader returned
	// ErrNotFound. Defaults to 5s; negative means not at all.
	NegativeTTL time.Duration
	// ClockSkew is how far the clocks of this process and of Freshet's consumer
	// may be apart; reads with Within take it off their bound. Defaults to
	// 250ms; negative means nothing.
	ClockSkew time.Duration
	// MaxLoads is how many loaders run at the same time at most; others wait.
	// Defaults to 256.
	MaxLoads int
	// MemoryEntries is how many entries a store in memory holds at most.
	// Defaults to 100000.
	MemoryEntries int
	// Near keeps entries in this process, in front of the store: see package
	// near. Defaults to nil: every read asks the store.
	Near Near
	// CompressAbove is the size in bytes above which values are compressed with
	// zstd, where that makes them shorter. Only this library reads those. Defaults
	// to 0: nothing is compressed.
	CompressAbove int
	// Observer is told of every call, for traces and histograms. Defaults to nil.
	Observer Observer
	// Logger receives what is unusual. Defaults to slog.Default().
	Logger *slog.Logger
}

func (c *Config) setDefaults() {
	if c.Codec == nil {
		c.Codec = JSON{}
	}
	c.LeaseTTL = or(c.LeaseTTL, 3*time.Second)
	c.LoadTimeout = or(c.LoadTimeout, 30*time.Second)
	c.WaitLimit = or(c.WaitLimit, 5*time.Second)
	c.NegativeTTL = or(c.NegativeTTL, 5*time.Second)
	c.ClockSkew = max(or(c.ClockSkew, 250*time.Millisecond), 0)
	if c.MaxLoads <= 0 {
		c.MaxLoads = 256
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
}
