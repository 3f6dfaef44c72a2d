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
	// getBounded reads the position of an instance where the key is, then the
	// value.
	getBounded(ctx context.Context, key, source string) (bounded, error)
	// getMany reads values; the result has nil for a key without one.
	getMany(ctx context.Context, keys []string) ([][]byte, error)
	// miss decides what a reader does that found no value.
	miss(ctx context.Context, key, token string, ttl time.Duration) (missed, error)
	// refresh takes the lease whatever is there, for a value that stays.
	refresh(ctx context.Context, key, token string, ttl time.Duration) error
	// extend prolongs the lease if it is still token's.
	extend(ctx context.Context, key, token string, ttl time.Duration) (bool, error)
	// fill stores the value and drops the lease, if it is still token's.
	fill(ctx context.Context, key, token string, value []byte, ttl time.Duration) (bool, error)
	// absent turns the lease into "known absent" and removes the value, if the
	// lease is still token's.
	absent(ctx context.Context, key, token string, ttl time.Duration) (bool, error)
	// release drops the lease if it is still token's.
	release(ctx context.Context, key, token string) error
	// set removes any lease and stores the value.
	set(ctx context.Context, entries []entry) []error
	// remove removes leases, then values, and reports which values there were.
	remove(ctx context.Context, keys []string) (removed int, err error)
	// exists reports whether there is a value.
	exists(ctx context.Context, key string) (bool, error)
	// ttl returns the time a value has left; negative: there is none.
	ttl(ctx context.Context, key string) (time.Duration, error)
	// touch sets the time a value has left, and reports whether there is one.
	touch(ctx context.Context, key string, ttl time.Duration) (bool, error)
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

// missed is what a reader without a value is told.
type missed struct {
	outcome outcome
	value   []byte // for outcomePresent
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
