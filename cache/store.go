package cache

import (
	"context"
	"iter"
	"time"
)

// store is where entries and their leases are. Keys are prefixed by the time
// they get here. Each method is one atomic step of the protocol, so that tests
// can put broken ones in their place.
type store interface {
	// get reads a value. A key without one is not an error.
	get(ctx context.Context, key string) (value []byte, ok bool, err error)
	// read reads a value and what is asked of it besides, in one round trip.
	read(ctx context.Context, q query) (answer, error)
	// getMany reads values; the result has nil for a key without one.
	getMany(ctx context.Context, keys []string) ([][]byte, error)
	// capture returns the generations of tags, and mints those that are missing;
	// they last for ttl at least.
	capture(ctx context.Context, names []string, ttl time.Duration) ([]string, error)
	// dropTags removes generations.
	dropTags(ctx context.Context, names []string) error
	// miss decides what a reader does that found no value of use. The result has
	// an entry for each query.
	miss(ctx context.Context, queries []missQuery) ([]missed, error)
	// claim takes the lease if nobody has it, for a value that stays.
	claim(ctx context.Context, key, token string, ttl time.Duration) (bool, error)
	// seize takes the lease whoever has it, for a value that stays.
	seize(ctx context.Context, key, token string, ttl time.Duration) error
	// ahead reads how far deletes of an instance have been sent to the masters of
	// keys; ok is false where any of them does not know.
	ahead(ctx context.Context, source string, keys []string) (lsn LSN, ok bool, err error)
	// frontier reads how far invalidations of an instance have come on all masters,
	// those of keys among them; known is false where any of them does not know.
	frontier(ctx context.Context, source string, keys []string) (f frontier, known bool, err error)
	// extend prolongs the leases that are still token's, and reports which.
	extend(ctx context.Context, keys []string, token string, ttl time.Duration) ([]bool, error)
	// fill stores values and drops their leases, where those are still token's.
	fill(ctx context.Context, token string, entries []entry) []filled
	// absent turns leases into "known absent" and removes the values, where the
	// leases are still token's. With a ttl of 0 it drops the leases instead.
	absent(ctx context.Context, keys []string, token string, ttl time.Duration) []filled
	// release drops the leases that are still token's.
	release(ctx context.Context, keys []string, token string) error
	// set removes any lease and stores the value.
	set(ctx context.Context, entries []entry) []error
	// remove removes leases, then values, and reports which values there were.
	remove(ctx context.Context, keys []string) (removed int, err error)
	// ttl returns the time a value has left, its grace left aside; 0: no limit;
	// negative: there is none, or it has expired.
	ttl(ctx context.Context, key string) (time.Duration, error)
	// touch sets the time a value has left, its grace left aside, and reports
	// whether there is one.
	touch(ctx context.Context, key string, ttl time.Duration) (bool, error)
	// increment adds to a counter; a new one lasts for ttl.
	increment(ctx context.Context, key string, delta int64, ttl time.Duration) (int64, error)
	// info asks how much there is.
	info(ctx context.Context) (Info, error)
	// sweep invalidates what matches the patterns, leases first.
	sweep(ctx context.Context, patterns []string) (Swept, error)
	// keys lists the keys of values that match the pattern.
	keys(ctx context.Context, pattern string) iter.Seq2[string, error]
	ping(ctx context.Context) error
	close() error
}

// entry is a value to be stored.
type entry struct {
	key   string
	value []byte
	ttl   time.Duration
}

// query asks for a value and more.
type query struct {
	key    string   // empty: no value is asked for
	names  []string // of tags whose generations are read too
	ttl    bool     // the time the value has left, too
	source string   // not empty: the positions of this instance, read before all else
}

// answer is what a query finds.
type answer struct {
	value     []byte
	ok        bool          // there is a value
	ttl       time.Duration // where it was asked for; 0 where it has no limit
	gens      []string      // by name; empty where there is none
	positions []string      // of every master that was asked; empty where there is none to be had
}

// missQuery is a reader's question about a key that it has found no value for.
type missQuery struct {
	key, token string
	former     string        // the token of an attempt that had no reply; empty: there was none
	lease      time.Duration // how long a new lease lasts
	useless    []byte        // what begins so is no value for the reader; empty: nothing does
	keep       bool          // such a value is left there
	names      []string      // of tags whose generations are captured behind the lease
	namesTTL   time.Duration // how long those last at least
}

// filled is what became of one loaded value.
type filled struct {
	stored bool // false without an error: it was voided
	err    error
}

// missed is what a reader without a value is told.
type missed struct {
	outcome outcome
	value   []byte   // for outcomePresent
	gens    []string // of the query's names
}

type outcome uint8

const (
	outcomePresent outcome = iota // there is a value by now
	outcomeAbsent                 // known not to exist
	outcomeLoad                   // the lease is yours: load
	outcomeWait                   // somebody else's: wait
)

// absentMark is the value of a lease key that says that there is nothing to
// load. No token looks like it.
const absentMark = "absent"
