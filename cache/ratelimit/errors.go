package ratelimit

import (
	"errors"
	"fmt"
)

// Errors of this package. Test for them with errors.Is.
var (
	// ErrUnavailable is returned when Redis does not answer. It wraps the reason.
	// The Result beside it says what Config.Failure makes of that.
	ErrUnavailable = errors.New("ratelimit: Redis unavailable")
	// ErrLimit is returned for a limit that cannot be enforced, for two limits of
	// one call that would share their state, and for a number of units that a
	// limit can never admit. The text says which.
	ErrLimit = errors.New("ratelimit: invalid limit")
	// ErrIdentifier is returned for an empty identifier, and by a KeyFunc that
	// finds none in a request. All who have none would share one limit.
	ErrIdentifier = errors.New("ratelimit: no identifier")
	// ErrClosed is returned by every call after Close.
	ErrClosed = errors.New("ratelimit: closed")
)

// errUnasked is made once: it is returned often and fast.
var errUnasked = fmt.Errorf("%w: not asked, as it has not answered lately", ErrUnavailable)
