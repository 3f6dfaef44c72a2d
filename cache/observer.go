package cache

import (
	"context"
	"strings"
)

// Observer is told of each call as it begins and as it ends, for traces and
// histograms; package tracing has one for OpenTelemetry. Counts are to be had
// from Stats without one. Its methods are called on every call's way and must not
// block.
type Observer interface {
	// Observe is called when an operation on a key begins. Its context is that
	// of the operation from then on, and end is called when that is over. For a
	// call on several keys, key names them.
	Observe(ctx context.Context, op Op, key string) (_ context.Context, end func(Outcome, error))
}

// Op names a kind of call to an Observer.
type Op string

// The operations.
const (
	OpGet               Op = "get"
	OpGetMany           Op = "get_many"
	OpGetOrSet          Op = "get_or_set"
	OpGetOrSetMany      Op = "get_or_set_many"
	OpLoad              Op = "load" // a loader runs, within one of the two before
	OpSet               Op = "set"
	OpSetMany           Op = "set_many"
	OpIncrement         Op = "increment"
	OpDelete            Op = "delete"
	OpInvalidatePattern Op = "invalidate_pattern"
	OpInvalidateTags    Op = "invalidate_tags"
)

// Outcome says how a read was served. It is empty for other operations, and for
// those on several keys.
type Outcome string

// The outcomes.
const (
	OutcomeHit   Outcome = "hit"   // from the store
	OutcomeNear  Outcome = "near"  // from the near layer
	OutcomeMiss  Outcome = "miss"  // not in the cache, or below the call's bound
	OutcomeStale Outcome = "stale" // below the bound, and OrStaleError was asked for
)

func (c *Cache) observe(ctx context.Context, op Op, key string) (context.Context, func(Outcome, error)) {
	if c.cfg.Observer == nil {
		return ctx, unobserved
	}
	return c.cfg.Observer.Observe(ctx, op, key)
}

// observeKeys is observe for a call on several keys.
func (c *Cache) observeKeys(ctx context.Context, op Op, keys []string) (context.Context, func(Outcome, error)) {
	if c.cfg.Observer == nil {
		return ctx, unobserved
	}
	return c.cfg.Observer.Observe(ctx, op, strings.Join(keys, ", "))
}

// observeLoad is observe for a loader, by the keys as they are in the store.
func (c *Cache) observeLoad(ctx context.Context, full []string) (context.Context, func(Outcome, error)) {
	if c.cfg.Observer == nil {
		return ctx, unobserved
	}
	keys := make([]string, len(full))
	for i, key := range full {
		keys[i] = c.bare(key)
	}
	return c.observeKeys(ctx, OpLoad, keys)
}

func unobserved(Outcome, error) {}
