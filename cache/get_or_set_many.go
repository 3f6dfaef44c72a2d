package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// GetOrSetMany returns the values of ids; for those that are not in the cache it
// calls load once, with these alone, and stores what that returns for ttl. Ids
// that are absent from what load returns are not found: that is remembered, and
// they are absent from the result. If some ids fail, the error is a *BatchError
// by key, and the result holds the others.
//
// Each id is loaded by one caller at a time, as with GetOrSet; load may so be
// called again for ids that another process was loading and did not store. Two
// ids must not have the same key. For all else see GetOrSet.
func GetOrSetMany[K comparable, T any](
	ctx context.Context, c *Cache, ids []K, key func(K) string, ttl time.Duration,
	load func(ctx context.Context, missing []K) (map[K]T, error), opts ...CallOption,
) (map[K]T, error) {
	return getOrSetMany(ctx, c, ids, key, nil, ttl, load, opts)
}

// getOrSetMany is GetOrSetMany with tags for each id.
func getOrSetMany[K comparable, T any](
	ctx context.Context, c *Cache, ids []K, key func(K) string, tags func(K) []string, ttl time.Duration,
	load func(ctx context.Context, missing []K) (map[K]T, error), opts []CallOption,
) (map[K]T, error) {
	b := &batch[K, T]{c: c, ttl: ttl, s: settingsOf(opts), load: load, values: make(map[K]T, len(ids))}
	if err := b.add(ids, key, tags); err != nil {
		return nil, fmt.Errorf("get or set: %w", err)
	}
	if len(b.items) == 0 {
		return b.values, nil
	}
	ctx, end := c.observeKeys(ctx, OpGetOrSetMany, b.keys())
	b.nest(ctx)
	err := errThrown
	defer func() { end("", err) }()
	err = b.get(ctx)
	return b.values, err
}

// batch is one call of GetOrSetMany.
type batch[K comparable, T any] struct {
	c      *Cache
	ttl    time.Duration
	s      settings
	load   func(context.Context, []K) (map[K]T, error)
	items  []*batchItem[K]
	values map[K]T // the result

	loading *loading
	token   string
}

// batchItem is one id of a batch.
type batchItem[K comparable] struct {
	id     K
	key    string // as the caller has it
	full   string
	n      *counters
	s      *settings // with the item's own tags
	tags   []string  // the item's own, with the prefix
	found  lookup
	flight *flight
	mine   bool // this call settles the flight
	leased bool // and holds the lease
	ended  bool // it has been settled
}

func (b *batch[K, T]) add(ids []K, key func(K) string, tags func(K) []string) error {
	if err := checkWrite(b.ttl, &b.s); err != nil {
		return err
	}
	seen := make(map[string]K, len(ids))
	for _, id := range ids {
		item := &batchItem[K]{id: id, key: key(id), s: &b.s}
		if other, ok := seen[item.key]; ok {
			if other == id {
				continue
			}
			return fmt.Errorf("%w: ids %v and %v both have the key %q", ErrKey, other, id, item.key)
		}
		seen[item.key] = id
		var err error
		if item.full, err = b.c.key(item.key); err != nil {
			return fmt.Errorf("key %q: %w", item.key, err)
		}
		if tags != nil {
			own := tags(id)
			if err := checkTags(own); err != nil {
				return fmt.Errorf("key %q: %w", item.key, err)
			}
			s := b.s
			s.tags = append(s.tags[:len(s.tags):len(s.tags)], own...)
			item.s, item.tags = &s, b.c.tagNames(own)[1:]
		}
		item.n = b.c.counters.of(item.key)
		b.items = append(b.items, item)
	}
	return nil
}

// nest makes the settings those of reads that a loader makes, if ctx is a loader's.
func (b *batch[K, T]) nest(ctx context.Context) {
	var nested settings
	b.c.nest(ctx, &nested)
	b.s.inherit(&nested)
	for _, item := range b.items {
		if item.s != &b.s {
			item.s.inherit(&nested)
		}
	}
}

func (b *batch[K, T]) keys() []string {
	keys := make([]string, len(b.items))
	for i, item := range b.items {
		keys[i] = item.key
	}
	return keys
}

// get collects what is there, and has the rest loaded.
func (b *batch[K, T]) get(ctx context.Context) error {
	missing, storeDown, err := b.read(ctx)
	if err != nil || len(missing) == 0 {
		return err
	}
	if b.s.noFill {
		return b.readThrough(ctx, missing)
	}
	b.loading = newLoading(b.c, b.fullOf(missing), b.ttl+b.s.failSafe, &b.s)
	for i, item := range missing {
		if b.s.own() {
			// Nobody may share a load that began before their call.
			item.flight, item.mine = &flight{done: make(chan struct{})}, true
			continue
		}
		if item.flight, item.mine, err = b.c.flights.reserve(item.full, b.c.withPrefix(item.s.tags), b.loading); err != nil {
			b.abandon(missing[:i], err)
			return err
		}
	}
	mine := slices.DeleteFunc(slices.Clone(missing), func(item *batchItem[K]) bool { return !item.mine })
	detached := context.WithoutCancel(ctx)
	if len(mine) > 0 {
		if err := b.c.flights.start(func() { b.run(detached, mine, storeDown) }); err != nil {
			b.abandon(missing, err)
			return err
		}
	}
	return b.wait(ctx, missing)
}

// read takes what the cache has. The near layer is asked first.
func (b *batch[K, T]) read(ctx context.Context) (missing []*batchItem[K], storeDown bool, err error) {
	rest := b.items
	if b.c.cfg.Near != nil && !b.s.own() {
		rest = nil
		for _, item := range b.items {
			if value, ok := nearGet[T](b.c, item.full, item.s); ok {
				item.n.near.Add(1)
				b.values[item.id] = value
				continue
			}
			rest = append(rest, item)
		}
		if len(rest) == 0 {
			return nil, false, nil
		}
	}
	all, err := b.c.lookupMany(ctx, b.fullOf(rest), func(i int) *settings { return rest[i].s })
	if err != nil {
		if ctx.Err() != nil {
			return nil, false, fmt.Errorf("get or set: %w", context.Cause(ctx))
		}
		storeDown = true
		_ = b.c.failed("get", rest[0].key, err)
	}
	for i, item := range rest {
		item.found = all[i]
		if item.found.stale || b.s.bounded && storeDown {
			item.n.stale.Add(1)
			if b.s.bounded && b.s.staleError {
				return nil, storeDown, errors.Join(fmt.Errorf("get or set %q: %w", item.key, ErrStale), err)
			}
		}
		if item.found.ok && err == nil {
			var value T
			decodeErr := b.c.unmarshal(item.found.payload, &value)
			if decodeErr == nil {
				item.n.hits.Add(1)
				b.values[item.id] = value
				continue
			}
			b.c.warnGarbled(item.n, item.key, decodeErr)
			item.found.useless = item.found.ident
		}
		item.n.misses.Add(1)
		missing = append(missing, item)
	}
	return missing, storeDown, nil
}

// readThrough loads for this call alone and stores nothing.
func (b *batch[K, T]) readThrough(ctx context.Context, missing []*batchItem[K]) error {
	loaded, err := loadOnly(ctx, b.c, missing[0].n, b.fullOf(missing), &b.s, func(ctx context.Context) (map[K]T, error) {
		return b.load(ctx, idsOf(missing))
	})
	if errors.Is(err, ErrNotFound) {
		return nil // none of them is there
	}
	if err != nil {
		return err
	}
	for _, item := range missing {
		if value, ok := loaded[item.id]; ok {
			b.values[item.id] = value
		}
	}
	return nil
}

func (b *batch[K, T]) fullOf(items []*batchItem[K]) []string {
	full := make([]string, len(items))
	for i, item := range items {
		full[i] = item.full
	}
	return full
}

func idsOf[K comparable](items []*batchItem[K]) []K {
	ids := make([]K, len(items))
	for i, item := range items {
		ids[i] = item.id
	}
	return ids
}

func (b *batch[K, T]) abandon(items []*batchItem[K], err error) {
	for _, item := range items {
		if item.mine {
			b.settle(item, nil, err)
		}
	}
}

func (b *batch[K, T]) settle(item *batchItem[K], payload []byte, err error) {
	item.ended = true
	item.flight.value, item.flight.err = payload, err
	b.c.flights.settle(item.full, item.flight)
}

// wait collects what the flights bring.
func (b *batch[K, T]) wait(ctx context.Context, items []*batchItem[K]) error {
	defer uses(ctx, b.loading) // a loader's calls share no other's loads
	failed := map[string]error{}
	for _, item := range items {
		if !item.mine {
			item.n.shared.Add(1)
			item.flight.load.lend(ctx)
		}
		select {
		case <-item.flight.done:
		case <-ctx.Done():
			return fmt.Errorf("wait for the load of %q: %w", item.key, context.Cause(ctx))
		}
		err := item.flight.err
		if thrown := (*loaderPanicError)(nil); errors.As(err, &thrown) {
			panic(thrown)
		}
		if value, own := item.flight.own.(T); own && item.mine {
			b.values[item.id] = value
			continue
		}
		var value T
		if err == nil {
			err = b.c.unmarshal(item.flight.value, &value)
		}
		switch {
		case err == nil:
			b.values[item.id] = value
		case !errors.Is(err, ErrNotFound):
			failed[item.key] = err
		}
	}
	if len(failed) > 0 {
		return &BatchError{Failed: failed}
	}
	return nil
}
