package verify

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/rule"
)

// Config says what to compare and how hard to work at it.
type Config struct {
	// Rate is how many keys are checked a second at most. Defaults to 200.
	Rate float64
	// Sample is how many keys of each target are checked, chosen evenly from all
	// that there are. Zero means all of them.
	Sample int
	// Concurrency is how many keys are checked at the same time. Defaults to 4.
	Concurrency int
	// Patience is how long the watermark may take to pass a read before the key
	// is left out. Defaults to 5s.
	Patience time.Duration
	// Fix invalidates what is reported.
	Fix bool
	// OnMismatch, if set, is called for each mismatch, not concurrently.
	OnMismatch func(Mismatch)
	// OnProgress, if set, is called with the number of keys looked at so far and
	// the number there are to look at, not concurrently.
	OnProgress func(done, of int)
	// Logger defaults to discarding everything.
	Logger *slog.Logger

	hooks hooks
}

// hooks let tests change things between the reads of a second look.
type hooks struct{ row, value func() }

// Verifier compares the values of one cache with one database.
type Verifier struct {
	cfg   Config
	cache *cache.Cache
	db    *pgxpool.Pool
	rules []*rule.Reverse
	pace  *rate.Limiter

	counting sync.Mutex
	status   Status // guarded by counting
}

// Status counts what a Verifier has done since it was made.
type Status struct {
	Checked      int64 `json:"checked"`        // values compared
	Mismatches   int64 `json:"mismatches"`     // of these, stale
	Fixed        int64 `json:"fixed"`          // of these, invalidated
	Skipped      int64 `json:"skipped"`        // left out: behind the watermark, or changing
	Unverifiable int64 `json:"not_verifiable"` // keys that no query can be asked for
	Failed       int64 `json:"failed"`         // keys whose query or read failed
}

// New returns a Verifier. The cache's Source must name the instance that keeps
// it fresh; db is a pool that Open made. Both stay the caller's.
func New(cfg Config, c *cache.Cache, db *pgxpool.Pool, rules *rule.Set) (*Verifier, error) {
	if c == nil || db == nil || rules == nil {
		return nil, errors.New("verify: cache, database and rules are required")
	}
	if cfg.Rate <= 0 {
		cfg.Rate = 200
	}
	if cfg.Concurrency <= 0 {
		cfg.Concurrency = 4
	}
	if cfg.Patience <= 0 {
		cfg.Patience = 5 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Verifier{
		cfg: cfg, cache: c, db: db, rules: rules.Reverses(),
		pace: rate.NewLimiter(rate.Limit(cfg.Rate), 1),
	}, nil
}

// Status returns the counts.
func (v *Verifier) Status() Status {
	v.counting.Lock()
	defer v.counting.Unlock()
	return v.status
}

// Run looks at the cached values of every target once. The error is what made it
// stop: ctx, or a Redis that does not list its keys. The report holds what was
// found until then.
func (v *Verifier) Run(ctx context.Context) (*Report, error) {
	report := newReport(v.rules)
	tasks, err := v.collect(ctx, report)
	if err != nil {
		report.finish()
		return report, err
	}
	var reporting sync.Mutex // guards report and the hooks
	done := 0
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(v.cfg.Concurrency)
	for _, t := range tasks {
		if err := v.pace.Wait(ctx); err != nil {
			break
		}
		group.Go(func() error {
			f := v.check(ctx, t)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			v.count(f)
			reporting.Lock()
			defer reporting.Unlock()
			report.add(t, f)
			if f.outcome == stale && v.cfg.OnMismatch != nil {
				v.cfg.OnMismatch(f.mismatch)
			}
			if done++; v.cfg.OnProgress != nil {
				v.cfg.OnProgress(done, len(tasks))
			}
			return nil
		})
	}
	err = group.Wait()
	report.finish()
	return report, err
}

// task is a key to look at.
type task struct {
	index int // of the rule
	rule  *rule.Reverse
	key   string
	args  []string
}

// collect lists the keys of every target that can be read backwards, and of
// these as many as the sample wants, each with the same chance.
func (v *Verifier) collect(ctx context.Context, report *Report) ([]task, error) {
	var all []task
	for i, r := range v.rules {
		if r.Obstacle != "" {
			continue
		}
		var kept []task
		for key, err := range v.cache.Keys(ctx, r.Pattern) {
			if err != nil {
				return nil, err
			}
			args, why, ok := r.Args(key)
			switch {
			case why != "":
				report.unread(i, why)
				v.counting.Lock()
				v.status.Unverifiable++
				v.counting.Unlock()
				continue
			case !ok:
				continue // another template's
			}
			report.Targets[i].Keys++
			t := task{index: i, rule: r, key: key, args: args}
			if n := report.Targets[i].Keys; v.cfg.Sample == 0 || n <= v.cfg.Sample {
				kept = append(kept, t)
			} else if at := rand.IntN(n); at < v.cfg.Sample {
				kept[at] = t
			}
		}
		all = append(all, kept...)
	}
	return all, nil
}

func (v *Verifier) count(f finding) {
	v.counting.Lock()
	defer v.counting.Unlock()
	switch f.outcome {
	case gone:
	case fresh:
		v.status.Checked++
	case stale:
		v.status.Checked++
		v.status.Mismatches++
		if f.mismatch.Fixed {
			v.status.Fixed++
		}
	case behind, changing:
		v.status.Skipped++
	case failed:
		v.status.Failed++
	}
}

// Watch checks again and again for as long as active says so, until ctx ends.
func (v *Verifier) Watch(ctx context.Context, active func() bool) error {
	const pause = time.Second // between looks at active, and between rounds
	complained := false
	for {
		if active() {
			_, err := v.Run(ctx)
			if err != nil && ctx.Err() == nil && !complained {
				v.cfg.Logger.Warn("cannot verify cached values for now; trying again", "error", err)
			}
			complained = err != nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}
