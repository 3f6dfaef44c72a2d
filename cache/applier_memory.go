package cache

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// memoryApplier is an Applier over a store in memory. There is one master,
// which forgets nothing while the process lives.
type memoryApplier struct {
	store *memoryStore
	cfg   ApplierConfig

	mu     sync.Mutex
	loaded bool   // guarded by mu
	owner  string // guarded by mu
	term   string // guarded by mu
}

// memoryBook is the position of one instance in a store in memory. The store's
// lock guards it.
type memoryBook struct {
	position Position
	term     string
	ahead    ahead
}

func newMemoryApplier(s *memoryStore, cfg ApplierConfig) *memoryApplier {
	return &memoryApplier{store: s, cfg: cfg}
}

// Applier returns an applier over the cache's own store when that is in memory,
// for the demo and for development. For Redis use OpenApplier, whose
// connections never repeat a command by themselves.
func (c *Cache) Applier(cfg ApplierConfig) (*Applier, error) {
	s, ok := c.store.(*memoryStore)
	if !ok {
		return nil, fmt.Errorf("cache: applier: the cache is not in memory; use OpenApplier with its URL")
	}
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	return &Applier{cfg: cfg, impl: newMemoryApplier(s, cfg)}, nil
}

func (a *memoryApplier) load(context.Context) (Loaded, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	a.loaded = true
	book := a.store.books[a.cfg.Name]
	switch {
	case book != nil:
		return Loaded{Verdict: VerdictContinue, Position: book.position, Masters: 1}, nil
	case len(a.store.values) == 0:
		return Loaded{Verdict: VerdictEmpty, Masters: 1, Detail: "the store in memory is empty"}, nil
	default:
		detail := fmt.Sprintf("the store in memory has %d keys and no position", len(a.store.values))
		return Loaded{Verdict: VerdictLost, Masters: 1, Detail: detail}, nil
	}
}

func (a *memoryApplier) takeOver(_ context.Context, p Position) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.loaded {
		return fmt.Errorf("nothing has been loaded")
	}
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	a.owner, a.term = p.Owner, newTerm()
	a.store.books[a.cfg.Name] = &memoryBook{position: p, term: a.term}
	return nil
}

// book returns what was taken over. Both locks must be held.
func (a *memoryApplier) book() (*memoryBook, error) {
	book := a.store.books[a.cfg.Name]
	switch {
	case a.term == "":
		return nil, ErrNotOwner
	case book == nil:
		return nil, ErrRolledBack
	case book.term != a.term:
		return nil, fmt.Errorf("%w: it is owned by %q", ErrForeignOwner, book.position.Owner)
	default:
		return book, nil
	}
}

func (a *memoryApplier) apply(_ context.Context, b Batch) (Applied, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.store
	s.mu.Lock()
	defer s.mu.Unlock()
	applied := Applied{Commands: 2*len(b.Keys) + len(b.Tags)}
	if b.WantExisted {
		applied.Existed = map[string]struct{}{}
	}
	if a.term == "" {
		return applied, ErrNotOwner
	}
	for _, key := range b.Keys {
		delete(s.leases, key)
		if _, ok := s.value(key); !ok {
			continue
		}
		delete(s.values, key)
		applied.Removed++
		if b.WantExisted {
			applied.Existed[key] = struct{}{}
		}
	}
	for _, tag := range b.Tags {
		delete(s.tags, tag)
	}
	if b.AllTags {
		delete(s.tags, a.cfg.Prefix)
	}
	book, err := a.book()
	if err != nil {
		return applied, err // the deletes were harmless
	}
	if b.Ahead != 0 && (book.ahead.epoch != b.Epoch || book.ahead.lsn < b.Ahead) {
		book.ahead = ahead{epoch: b.Epoch, lsn: b.Ahead}
	}
	return applied, nil
}

func (a *memoryApplier) move(_ context.Context, p Position) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	book, err := a.book()
	if err != nil {
		return err
	}
	if p.Owner != a.owner {
		return fmt.Errorf("the position names owner %q, %q took over", p.Owner, a.owner)
	}
	book.position = p
	return nil
}

func (a *memoryApplier) forgetAhead(context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	book, err := a.book()
	if err != nil {
		return err
	}
	book.ahead = ahead{}
	return nil
}

func (a *memoryApplier) flush(ctx context.Context, patterns []string, _ int, progress func(scanned, removed int64)) (Swept, error) {
	swept, err := a.store.sweep(ctx, patterns)
	if progress != nil {
		progress(swept.Scanned, swept.Removed)
	}
	return swept, err
}

func (a *memoryApplier) countMatches(_ context.Context, patterns []string) ([]int64, error) {
	counts := make([]int64, len(patterns))
	now := time.Now()
	a.store.mu.Lock()
	defer a.store.mu.Unlock()
	for i, g := range newGlobs(patterns) {
		for key, e := range a.store.values {
			if e.expires.After(now) && g.match(key) {
				counts[i]++
			}
		}
	}
	return counts, nil
}

func (a *memoryApplier) ping(context.Context) error { return nil }
func (a *memoryApplier) close() error               { return nil }
