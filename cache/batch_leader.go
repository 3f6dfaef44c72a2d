package cache

import (
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"time"
)

// run settles the flights of a batch, detached from its caller. What it holds
// the leases of is loaded and stored before it waits for others: two batches that
// did otherwise could wait for each other.
func (b *batch[K, T]) run(ctx context.Context, items []*batchItem[K], storeDown bool) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(b.c.base, func() { cancel(ErrClosed) })()
	all := items
	defer func() { // also when the loader ends its goroutine
		for _, item := range all {
			if !item.ended {
				b.settle(item, nil, errGoexit)
			}
		}
	}()
	if storeDown {
		b.loadItems(ctx, items, nil)
		return
	}
	deadline := time.Now().Add(b.c.cfg.WaitLimit)
	for pause := time.Millisecond; len(items) > 0; {
		load, leased, others, err := b.ask(ctx, items)
		if err != nil {
			items[0].n.errors.Add(1)
			b.loadItems(ctx, items, nil)
			return
		}
		if items = others; len(load) > 0 {
			b.loadItems(ctx, load, leased)
			continue
		}
		if len(items) == 0 {
			return
		}
		if time.Now().After(deadline) || slices.ContainsFunc(items, func(i *batchItem[K]) bool { return b.c.flights.impatient(i.full) }) {
			b.loadItems(ctx, items, nil)
			return
		}
		if pause == time.Millisecond {
			items[0].n.waits.Add(1)
		}
		if err := sleep(ctx, pause/2+time.Duration(mathrand.Int64N(int64(pause)))); err != nil {
			for _, item := range items {
				b.settle(item, nil, err)
			}
			return
		}
		pause = min(2*pause, maxPause)
	}
}

// ask asks for the leases of items, settles those that need no load, and divides
// the rest into those to load, of which some are leased, and others to wait for.
func (b *batch[K, T]) ask(ctx context.Context, items []*batchItem[K]) (load, leased, others []*batchItem[K], err error) {
	queries := make([]missQuery, len(items))
	var tags []string
	tagged := len(b.s.tags) > 0
	for i, item := range items {
		queries[i] = missQuery{
			key: item.full, lease: b.c.cfg.LeaseTTL, useless: item.found.useless, keep: item.found.keep,
		}
		for _, name := range item.tags {
			tags, tagged = append(tags, name[len(b.c.cfg.Prefix):]), true
		}
	}
	if tagged {
		// Behind the first lease is before the load: that is early enough.
		queries[0].names = append(b.loading.name(b.s.tags, true), b.loading.name(tags, false)...)
		queries[0].namesTTL = b.c.tagTTL(b.ttl + b.s.failSafe)
	}
	// What was leased by the token before has been settled.
	all, token, err := b.c.askLeases(ctx, queries)
	if err != nil {
		return nil, nil, nil, err
	}
	b.token = token
	b.loading.captured(queries[0].names, all[0].gens)
	for i, m := range all {
		item := items[i]
		switch {
		case m.outcome == outcomeLoad:
			load, leased = append(load, item), append(leased, item)
		case b.s.own():
			load = append(load, item)
		case m.outcome == outcomeAbsent:
			item.n.absent.Add(1)
			b.settle(item, nil, ErrNotFound)
		case m.outcome == outcomePresent:
			switch settled, err := b.present(ctx, item, m); {
			case err != nil:
				item.n.errors.Add(1)
				load = append(load, item)
			case !settled:
				others = append(others, item)
			}
		default:
			others = append(others, item)
		}
	}
	return load, leased, others, nil
}

// present settles an item for which a value has come to be there.
func (b *batch[K, T]) present(ctx context.Context, item *batchItem[K], m missed) (settled bool, err error) {
	if e, err := decodeEntry(m.value); err == nil && e.plain() && len(item.s.tags) == 0 {
		b.settle(item, e.payload, nil)
		return true, nil
	}
	got := b.c.lookup(ctx, item.full, item.s)
	if got.err == nil && !got.ok {
		item.found = got
	}
	if got.ok {
		b.settle(item, got.payload, nil)
	}
	return got.ok, got.err
}

// loadItems loads items and settles their flights. It stores what was loaded for
// those whose leases are held.
func (b *batch[K, T]) loadItems(ctx context.Context, items, leased []*batchItem[K]) {
	c := b.c
	keys := b.fullOf(leased)
	for _, item := range leased {
		item.leased = true
	}
	extended := func() {}
	if len(keys) > 0 {
		extended = c.keepLeases(ctx, keys, b.token)
	}
	loaded, err := callLoader(withLoading(ctx, b.loading), b.loading, items[0].n, b.fullOf(items), func(ctx context.Context) (map[K]T, error) {
		return b.load(ctx, idsOf(items))
	})
	extended()
	if errors.Is(err, ErrNotFound) {
		loaded, err = nil, nil // none of them is there
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	outcomes := make([]loadedItem[T], len(items))
	for i, item := range items {
		outcomes[i] = b.outcome(ctx, item, loaded, err)
	}
	b.store(ctx, items, leased, outcomes)
	for i, item := range items {
		o := outcomes[i]
		if o.found {
			item.flight.own = o.value
		}
		b.settle(item, o.payload, o.err)
	}
}

// loadedItem is what a load brought for one item.
type loadedItem[T any] struct {
	value   T
	found   bool // value is set
	payload []byte
	err     error
}

func (b *batch[K, T]) outcome(ctx context.Context, item *batchItem[K], loaded map[K]T, err error) loadedItem[T] {
	if err != nil {
		if item.found.expired != nil && !b.s.own() && replaceable(err) {
			if expired, ok := b.c.standIn(ctx, item.full, item.s); ok {
				item.n.fallbacks.Add(1)
				return loadedItem[T]{payload: expired}
			}
		}
		return loadedItem[T]{err: err}
	}
	value, ok := loaded[item.id]
	if !ok {
		return loadedItem[T]{err: ErrNotFound}
	}
	// A codec may panic as a loader may.
	payload, err := call(ctx, func(context.Context) ([]byte, error) { return b.c.marshal(value) })
	if err != nil {
		return loadedItem[T]{err: fmt.Errorf("encode %q: %w", item.key, err)}
	}
	return loadedItem[T]{value: value, found: true, payload: payload}
}

// store fills what was loaded under a lease, and gives back what was not.
func (b *batch[K, T]) store(ctx context.Context, items, leased []*batchItem[K], outcomes []loadedItem[T]) {
	if len(leased) == 0 {
		return
	}
	c := b.c
	negative := c.negativeTTL(&b.s)
	var fills, absents []*batchItem[K]
	var entries []entry
	var absentKeys, releases []string
	all, storable := b.loading.meta(b.s.failSafe)
	gens, shared := all.byName(), b.loading.everyKeys()
	for i, item := range items {
		if !item.leased {
			continue
		}
		meta := b.meta(item, all, gens, shared)
		switch o := outcomes[i]; {
		case o.found && storable:
			fills = append(fills, item)
			entries = append(entries, entry{item.full, c.encode(o.payload, meta), b.s.entryTTL(b.loading.limited(b.ttl)) + b.s.failSafe})
		case errors.Is(o.err, ErrNotFound) && storable && negative > 0 && !meta.tagged:
			absents, absentKeys = append(absents, item), append(absentKeys, item.full)
		default:
			if o.found {
				item.n.refused.Add(1)
			}
			releases = append(releases, item.full)
		}
	}
	if len(entries) > 0 {
		for i, f := range c.store.fill(ctx, b.token, entries) {
			if f.stored {
				c.recent.add(fills[i].full)
			}
			c.noteFill(fills[i].n, fills[i].full, f)
		}
	}
	if len(absentKeys) > 0 {
		for i, f := range c.store.absent(ctx, absentKeys, b.token, negative) {
			c.noteFill(absents[i].n, absents[i].full, f)
		}
	}
	if len(releases) > 0 {
		if err := c.store.release(ctx, releases, b.token); err != nil {
			items[0].n.errors.Add(1) // they expire
		}
	}
}

// meta returns the header of one item, given that of all: of the tags that were
// captured it takes those that are the call's, the loader's or its own.
func (b *batch[K, T]) meta(item *batchItem[K], all entryMeta, gens map[string]string, shared []string) entryMeta {
	all.tags = nil
	for _, name := range append(shared[:len(shared):len(shared)], item.tags...) {
		if gen, ok := gens[name]; ok && !all.has(name) {
			all.tags = append(all.tags, generation{tag: name, gen: gen})
		}
	}
	all.tagged = len(all.tags) > 0
	return all
}
