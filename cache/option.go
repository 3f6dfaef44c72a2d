package cache

import (
	"math/rand/v2"
	"time"
)

// CallOption changes one call.
type CallOption interface{ apply(s *settings) }

// ReadOption changes one call that reads.
type ReadOption interface {
	CallOption
	read()
}

// WriteOption changes one call that stores.
type WriteOption interface {
	CallOption
	write()
}

// settings is what the options of one call say.
type settings struct {
	noFill     bool
	bounded    bool // tokens or within is set
	tokens     []Token
	within     *time.Duration
	staleError bool

	nested    bool     // a loader makes the call
	unsettled *loading // that loader's load, where what the store holds is not of use to it

	tags         []string
	jitter       float64
	negativeTTL  time.Duration
	refreshAhead time.Duration
	failSafe     time.Duration
}

func settingsOf[O CallOption](opts []O) settings {
	var s settings
	for _, o := range opts {
		o.apply(&s)
	}
	return s
}

// own reports whether a call may not be served what this process has from before it:
// by the near layer, or by a load under way.
func (s *settings) own() bool { return s.bounded || s.nested }

// entryTTL returns how long an entry lasts that is stored now.
func (s *settings) entryTTL(ttl time.Duration) time.Duration {
	if s.jitter > 0 {
		ttl -= time.Duration(s.jitter * rand.Float64() * float64(ttl))
	}
	return max(ttl, time.Millisecond)
}

type writeOption func(*settings)

func (o writeOption) apply(s *settings) { o(s) }
func (writeOption) write()              {}

// NoFill makes a loading call read through: what is in the cache is returned,
// else the loader's value, which is not stored and not shared with other
// callers. Use it where the loader's view of the database does not begin with
// the call or holds uncommitted rows: inside an open REPEATABLE READ or
// SERIALIZABLE transaction, and inside any transaction that has written.
func NoFill() WriteOption { return writeOption(func(s *settings) { s.noFill = true }) }

// WithTags stores the entry with tags: InvalidateTags, and rules with tags,
// invalidate all entries of a tag at once. A loading call captures the tags
// before it loads, so a tag that is invalidated meanwhile makes the entry void.
// An entry that lacks a tag that the call names counts as missing. That a loader
// returned ErrNotFound is not remembered, as nothing could invalidate that. Entries
// with tags are stored behind a short header that only this library reads.
func WithTags(tags ...string) WriteOption {
	return writeOption(func(s *settings) { s.tags = append(s.tags[:len(s.tags):len(s.tags)], tags...) })
}

// WithJitter shortens the TTL by a random part of it, up to the given fraction,
// so that entries stored together do not expire together. It is kept between 0,
// which does nothing, and 1.
func WithJitter(fraction float64) WriteOption {
	return writeOption(func(s *settings) { s.jitter = min(max(fraction, 0), 1) })
}

// WithNegativeTTL says for how long it is remembered that the loader returned
// ErrNotFound, instead of Config.NegativeTTL. Negative means not at all, 0 the
// default.
func WithNegativeTTL(ttl time.Duration) WriteOption {
	return writeOption(func(s *settings) { s.negativeTTL = ttl })
}

// WithRefreshAhead makes a loading call that finds a value with less than ahead
// left return that value and load a new one in the background. One caller in all
// processes does; an invalidation meanwhile voids what it loads. The loader runs
// on after the call has returned, so it must not use what ends with that. With an
// ahead that is no shorter than the TTL every hit begins a load.
func WithRefreshAhead(ahead time.Duration) WriteOption {
	return writeOption(func(s *settings) { s.refreshAhead = max(ahead, 0) })
}

// WithFailSafe keeps the entry for longer than its TTL, by so much: a loading
// call that finds it expired loads, and returns the expired value if the loader
// fails with an error other than ErrNotFound, unless the call has a bound. An
// invalidated value is never returned. Entries stored so have a short header that
// only this library reads.
func WithFailSafe(longer time.Duration) WriteOption {
	return writeOption(func(s *settings) { s.failSafe = max(longer, 0) })
}
