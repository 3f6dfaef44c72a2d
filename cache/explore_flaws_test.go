package cache

import (
	"context"
	"slices"
	"time"
)

// Stores that do one thing wrong, for the variants.

// oneToken is a store in which all leases look the same.
type oneToken struct{ store }

func (s oneToken) miss(ctx context.Context, queries []missQuery) ([]missed, error) {
	for i := range queries {
		queries[i].token = "everybody's"
	}
	return s.store.miss(ctx, queries)
}

func (s oneToken) fill(ctx context.Context, _ string, entries []entry) []filled {
	return s.store.fill(ctx, "everybody's", entries)
}

// unclaimed is a store in which a refresh takes no lease.
type unclaimed struct {
	store
	tokens map[string]bool
}

func (s *unclaimed) claim(_ context.Context, _, token string, _ time.Duration) (bool, error) {
	s.tokens[token] = true
	return true, nil
}

func (s *unclaimed) fill(ctx context.Context, token string, entries []entry) []filled {
	if !s.tokens[token] {
		return s.store.fill(ctx, token, entries)
	}
	e := entries[0]
	return []filled{{stored: true, err: exploreClient.Set(ctx, e.key, e.value, e.ttl).Err()}}
}

// unseized is a store in which all warmers go by the same lease.
type unseized struct{ store }

func (s unseized) seize(ctx context.Context, key, _ string, ttl time.Duration) error {
	return s.store.seize(ctx, key, "warmer", ttl)
}

func (s unseized) fill(ctx context.Context, token string, entries []entry) []filled {
	if f := s.store.fill(ctx, "warmer", entries); f[0].stored || f[0].err != nil {
		return f
	}
	return s.store.fill(ctx, token, entries)
}

// lateTags is a store that captures tags when a value is stored.
type lateTags struct{ store }

func (s lateTags) miss(ctx context.Context, queries []missQuery) ([]missed, error) {
	names := queries[0].names
	queries[0].names = nil
	all, err := s.store.miss(ctx, queries)
	if err == nil {
		all[0].gens, _ = s.capture(ctx, names, 0)
	}
	return all, err
}

func (s lateTags) capture(_ context.Context, names []string, _ time.Duration) ([]string, error) {
	return slices.Repeat([]string{"later"}, len(names)), nil
}

func (s lateTags) fill(ctx context.Context, token string, entries []entry) []filled {
	e, err := decodeEntry(entries[0].value)
	if err != nil || !e.tagged {
		return s.store.fill(ctx, token, entries)
	}
	names := append([]string{""}, tagsOf(e)...)
	gens, err := s.store.capture(ctx, names, time.Hour)
	if err != nil {
		return []filled{{err: err}}
	}
	var meta entryMeta
	meta.withTags(names, gens)
	entries[0].value = encodeEntry(e.payload, &meta)
	return s.store.fill(ctx, token, entries)
}

// noEpoch is a store in which the generation of all tags never changes.
type noEpoch struct{ store }

func (s noEpoch) read(ctx context.Context, q query) (answer, error) {
	a, err := s.store.read(ctx, q)
	for i, name := range q.names {
		if name == "" && err == nil {
			a.gens[i] = "for ever"
		}
	}
	return a, err
}

func (s noEpoch) miss(ctx context.Context, queries []missQuery) ([]missed, error) {
	all, err := s.store.miss(ctx, queries)
	for i, name := range queries[0].names {
		if name == "" && err == nil {
			all[0].gens[i] = "for ever"
		}
	}
	return all, err
}

// atPosition is a store that says of the position that deletes have been sent so
// far.
type atPosition struct{ store }

func (s atPosition) ahead(ctx context.Context, source string, _ []string) (LSN, bool, error) {
	text, err := exploreClient.Get(ctx, positionPrefix+source).Result()
	if err != nil {
		return 0, false, err
	}
	p, err := decodePosition(text)
	return p.Watermark(), err == nil, err
}
