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
	l := Lease{c: c, key: full, load: newLoading(c, []string{full}, 0, &settings{})}
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

// Refresh takes the lease of a key whatever is there: a value stays until Fill
// replaces it or Remove removes it, and whoever had the lease stores nothing. It is
// for whoever brings a value up to date that others may be reading. Take it before
// the database is read; an invalidation in between voids it.
func (c *Cache) Refresh(ctx context.Context, key string) (Lease, error) {
	full, err := c.key(key)
	if err != nil {
		return Lease{}, err
	}
	token := newToken()
	if err := c.store.seize(ctx, full, token, c.cfg.LoadTimeout); err != nil {
		return Lease{}, c.failed("refresh", key, err)
	}
	return Lease{c: c, key: full, token: token, load: newLoading(c, []string{full}, 0, &settings{})}, nil
}

// Remove removes the key's value, as there is nothing in the database to store, if
// nothing has voided the lease, and reports whether it did. For absent, if that is
// not 0, loading calls then take the key for not found without asking the database.
func (l Lease) Remove(ctx context.Context, absent time.Duration) (removed bool, err error) {
	if absent < 0 || absent > 0 && absent < time.Millisecond {
		return false, fmt.Errorf("remove %q: %w: it is remembered for %s", l.key, ErrTTL, absent)
	}
	if !l.Held() {
		return false, nil
	}
	f := l.c.store.absent(ctx, []string{l.key}, l.token, absent)[0]
	if f.stored || f.err != nil { // with an error it may have been removed
		l.c.changed(Invalidation{Keys: []string{l.key}})
	}
	if f.err == nil && !f.stored {
		l.c.counters.of(l.c.bare(l.key)).refused.Add(1)
	}
	return f.stored, l.c.failed("remove", l.c.bare(l.key), f.err)
}

// Release gives the lease back without a value.
func (l Lease) Release(ctx context.Context) error {
	if !l.Held() {
		return nil
	}
	return l.c.failed("release", l.c.bare(l.key), l.c.store.release(ctx, []string{l.key}, l.token))
}
