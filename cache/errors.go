package cache

import (
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Errors of the library. Test for them with errors.Is.
var (
	// ErrMiss is returned by Get for a key that is not in the cache.
	ErrMiss = errors.New("cache: miss")
	// ErrNotFound is returned by a loader for what does not exist, wrapped or as it
	// is, and by GetOrSet when a loader said so a short while ago. Get does not know
	// of that: it returns ErrMiss.
	ErrNotFound = errors.New("cache: not found")
	// ErrStale is returned by reads with OrStaleError when nothing in the cache
	// is fresh enough.
	ErrStale = errors.New("cache: not fresh enough")
	// ErrKey is returned for a key that cannot be used: an empty one, or one
	// that begins with "freshet:".
	ErrKey = errors.New("cache: invalid key")
	// ErrTTL is returned for a TTL that is not positive, or shorter than a
	// millisecond.
	ErrTTL = errors.New("cache: TTL must be at least one millisecond")
	// ErrNoPrefix is returned by calls on all keys of a cache without a prefix.
	ErrNoPrefix = errors.New("cache: no prefix configured")
	// ErrClosed is returned by every call after Close.
	ErrClosed = errors.New("cache: closed")
	// ErrUnavailable is returned when the store does not answer. It wraps the
	// reason.
	ErrUnavailable = errors.New("cache: store unavailable")
)

// Errors of an Applier.
var (
	// ErrForeignOwner is returned when another invalidator has taken the
	// position over: step down.
	ErrForeignOwner = errors.New("cache: another invalidator owns the position")
	// ErrRolledBack is returned when a master's counter or position is not what
	// was left there, or when it cannot be known that it is: the master may have
	// forgotten what was applied. Load again and go on from what it finds.
	ErrRolledBack = errors.New("cache: a Redis master may have forgotten what was applied to it")
	// ErrNotOwner is returned by Apply and Move before TakeOver.
	ErrNotOwner = errors.New("cache: the position has not been taken over")
)

// IsFull reports whether err is Redis refusing writes for want of memory.
// Deletes still work then.
func IsFull(err error) bool {
	return err != nil && (redis.IsOOMError(err) || strings.Contains(err.Error(), "OOM command not allowed"))
}
