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
	load  *loading
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
	q := []missQuery{{key: full, lease: c.cfg.LoadTimeout}}
	all, token, err := c.askLeases(ctx, q)
	if err == nil && all[0].outcome == outcomePresent {
		// It may be void by its tags, or expired.
		if found := c.lookup(ctx, full, &settings{}); found.err == nil && !found.ok && found.useless != nil {
			q[0].useless, q[0].keep = found.useless, found.keep
			all, token, err = c.askLeases(ctx, q)
		}
	}
	if err != nil {
		return Lease{}, c.failed("lease", key, err)
	}
	l := Lease{c: c, key: full, load: &loading{c: c, keys: []string{full}}}
	if all[0].outcome == outcomeLoad {
		l.token = token
	}
	return l, nil
}

// Tag adds tags to the entry that Fill will store, and captures them: call it
// before the database is asked for what the tags stand for. ttl is that of Fill.
// An error means that Fill will store nothing.
func (l Lease) Tag(ctx context.Context, ttl time.Duration, tags ...string) error {
	if !l.Held() || len(tags) == 0 {
		return nil
	}
	l.load.ttl = ttl
	return l.load.tag(ctx, tags)
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
	raw, err := l.c.marshal(value)
	if err != nil {
		return false, fmt.Errorf("encode %q: %w", l.key, err)
	}
	meta, storable := l.load.meta(0)
	if !storable {
		return false, l.Release(ctx)
	}
	f := l.c.store.fill(ctx, l.token, []entry{{key: l.key, value: l.c.encode(raw, meta), ttl: ttl}})[0]
	if f.err == nil && !f.stored {
		l.c.counters.of(l.c.bare(l.key)).refused.Add(1)
	}
	return f.stored, l.c.failed("fill", l.c.bare(l.key), f.err)
}

// Release gives the lease back without a value.
func (l Lease) Release(ctx context.Context) error {
	if !l.Held() {
		return nil
	}
	return l.c.failed("release", l.c.bare(l.key), l.c.store.release(ctx, []string{l.key}, l.token))
}
