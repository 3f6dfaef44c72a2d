package cache

import (
	"context"
	"fmt"
	"time"
)

// Lease is the right to store what is read from the database from now on. Use
// it where control flow does not permit a loader function; else GetOrSet.
type Lease struct {
	c     *Cache
	key   string
	token string
}

// Lease takes the lease of a key that is not in the cache. Take it before the
// database is read, and then Fill or Release it; after Config.LoadTimeout it
// is void. If somebody else has it, or there is a value by now, the lease that
// is returned is not held and its Fill stores nothing.
func (c *Cache) Lease(ctx context.Context, key string) (Lease, error) {
	full, err := c.key(key)
	if err != nil {
		return Lease{}, err
	}
	token := newToken()
	m, err := c.store.miss(ctx, full, token, c.cfg.LoadTimeout)
	if err != nil {
		return Lease{}, c.failed("lease", key, err)
	}
	l := Lease{c: c, key: full}
	if m.outcome == outcomeLoad {
		l.token = token
	}
	return l, nil
}

// Held reports whether the lease was granted. It may have been voided since.
func (l Lease) Held() bool { return l.token != "" }

// Fill stores a value for ttl, if nothing has voided the lease, and reports
// whether it did. That it did not is no error: the key has changed since.
func (l Lease) Fill(ctx context.Context, value any, ttl time.Duration) (stored bool, err error) {
	if err := checkTTL(ttl); err != nil {
		return false, fmt.Errorf("fill %q: %w", l.key, err)
	}
	if !l.Held() {
		return false, nil
	}
	raw, err := l.c.cfg.Codec.Marshal(value)
	if err != nil {
		return false, fmt.Errorf("encode %q: %w", l.key, err)
	}
	stored, err = l.c.store.fill(ctx, l.key, l.token, raw, ttl)
	if err == nil && !stored {
		l.c.counters.refused.Add(1)
	}
	return stored, l.c.failed("fill", l.key, err)
}

// Release gives the lease back without a value.
func (l Lease) Release(ctx context.Context) error {
	if !l.Held() {
		return nil
	}
	return l.c.failed("release", l.key, l.c.store.release(ctx, l.key, l.token))
}
