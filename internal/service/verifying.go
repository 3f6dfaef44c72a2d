package service

import (
	"context"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/stream"
	"github.com/freshet-dev/freshet/internal/verify"
	"github.com/freshet-dev/freshet/invalidator"
)

const (
	// verifyTime bounds a query of the continuous verifier.
	verifyTime = 5 * time.Second
	// verifySample is how many keys of each target one of its rounds looks at.
	verifySample = 1000
)

// verifying compares cached values with the database for as long as this
// process has the active invalidator.
type verifying struct {
	verifier    *verify.Verifier
	invalidator *invalidator.Invalidator
	close       func()
}

// newVerifying connects; nil when cfg does not ask for it.
func newVerifying(ctx context.Context, cfg Config, rules *rule.Set, s *stream.Stream, v *invalidator.Invalidator) (*verifying, error) {
	if cfg.VerifyRate == 0 || !rules.Warms() {
		return nil, nil
	}
	verifier, done, err := openVerifier(ctx, cfg, rules, s, verify.Config{Rate: float64(cfg.VerifyRate), Sample: verifySample})
	if err != nil {
		return nil, err
	}
	return &verifying{verifier: verifier, invalidator: v, close: done}, nil
}

// openVerifier connects a verifier that announces what it finds.
func openVerifier(ctx context.Context, cfg Config, rules *rule.Set, s *stream.Stream, how verify.Config) (v *verify.Verifier, done func(), err error) {
	db, err := verify.Open(ctx, cfg.PostgresURL, verifyTime)
	if err != nil {
		return nil, nil, err
	}
	c, release := cfg.Memory, func() {}
	if c == nil {
		if c, err = cache.Open(ctx, cfg.CacheURL, cache.Config{Source: cfg.Stream.Name, Prefix: cfg.Applier.Prefix, Logger: cfg.Logger}); err != nil {
			db.Close()
			return nil, nil, fmt.Errorf("cache.url: %w", err)
		}
		release = func() { _ = c.Close() } // nothing is stored through it
	}
	how.Logger = cfg.Logger
	how.OnMismatch = func(m verify.Mismatch) {
		remedy := "; `freshet verify --fix` removes it, and"
		if m.Fixed {
			remedy = "; it is removed, and"
		}
		s.Emit(stream.Event{
			Kind: "mismatch", Role: RoleInvalidator,
			Message: "the cached value of " + m.Key + " is not what rule " + m.Rule + " gives" + remedy + " a client that fills it without a lease, or from a standby, may store it again",
			Fields:  map[string]any{"key": m.Key, "rule": m.Rule, "cached": m.Cached, "database": m.Database, "fixed": m.Fixed},
		})
	}
	done = func() { release(); db.Close() }
	if v, err = verify.New(how, c, db, rules); err != nil {
		done()
		return nil, nil, err
	}
	return v, done, nil
}

// run verifies until ctx ends. What is known to be behind is not looked at.
func (w *verifying) run(ctx context.Context) error {
	defer w.close()
	return w.verifier.Watch(ctx, func() bool { return w.invalidator.Status().Active })
}

// status is nil without a verifier.
func (w *verifying) status() *verify.Status {
	if w == nil {
		return nil
	}
	s := w.verifier.Status()
	return &s
}
