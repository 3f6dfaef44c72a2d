package invalidator

import (
	"context"
	"crypto/rand"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/stream"
)

// Invalidator applies the change stream to the cache.
type Invalidator struct {
	cfg     Config
	stream  *stream.Stream
	applier *cache.Applier
	rules   *rule.Set
	lookups Querier
}

// New returns an invalidator that reads s, evaluates rules and applies the
// outcome through a. lookups may be nil when no rule has a lookup.
func New(cfg Config, s *stream.Stream, a *cache.Applier, rules *rule.Set, lookups Querier) (*Invalidator, error) {
	cfg.setDefaults()
	return &Invalidator{cfg: cfg, stream: s, applier: a, rules: rules, lookups: lookups}, nil
}

// Run waits until this process leads, applies the stream, and steps down when
// ctx ends: it finishes the batch in hand, moves the position and returns nil.
func (v *Invalidator) Run(ctx context.Context) error { panic("skeleton") }

// Status returns a snapshot; it may be called at any time.
func (v *Invalidator) Status() Status { panic("skeleton") }

func randomID() string { return "inv-" + rand.Text()[:10] }
