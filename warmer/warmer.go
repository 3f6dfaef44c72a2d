package warmer

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/ratelimit"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/stream"
)

const (
	role = "warmer"
	// nextWait is how long one request for a task waits.
	nextWait = 5 * time.Second
	// pausedWait is how often a paused worker looks whether it still is.
	pausedWait = 250 * time.Millisecond
	// probe is a key that never has a value: its lease shows whether Redis is well.
	probe = "freshet-warmer-probe"
	// askTime bounds a question to a server whether it is back.
	askTime = 2 * time.Second
)

// Warmer fills keys again that were invalidated.
type Warmer struct {
	cfg     Config
	log     *slog.Logger
	stream  *stream.Stream
	cache   *cache.Cache
	rules   *rule.Set
	db      Database
	permits *permits
	stats   *stats

	mu      sync.Mutex
	queue   *stream.WarmQueue   // nil: to be asked for; guarded by mu
	paused  bool                // told to take no tasks, or not known yet; guarded by mu
	waiting map[string]struct{} // keys whose task has not taken the lease; guarded by mu
}

// New returns a warmer that takes tasks from s and fills c with what db says. c
// should have Config.LeaseTime as its LoadTimeout, and no near layer. The limiter
// must be over the same Redis as those of other warmers, with a prefix that no rule's
// pattern matches, and fail closed. The caller keeps ownership of all of them.
func New(cfg Config, s *stream.Stream, c *cache.Cache, rules *rule.Set, db Database, limiter *ratelimit.Limiter) (*Warmer, error) {
	switch {
	case cfg.Name == "":
		return nil, errors.New("warmer: the instance needs a name")
	case s == nil || c == nil || rules == nil || db == nil || limiter == nil:
		return nil, errors.New("warmer: stream, cache, rules, database and limiter are required")
	}
	cfg = cfg.withDefaults()
	return &Warmer{
		cfg: cfg, log: cfg.Logger.With("role", role, "id", cfg.ID),
		stream: s, cache: c, rules: rules, db: db,
		permits: newPermits(limiter, cfg), stats: newStats(cfg.ID), paused: true, waiting: map[string]struct{}{},
	}, nil
}

// Run takes tasks until ctx ends, and then returns nil. Servers that are away are
// waited for.
func (w *Warmer) Run(ctx context.Context) error {
	defer w.stats.phase(StateStopped)
	if !w.rules.Warms() {
		w.stats.phase(StateIdle)
		<-ctx.Done()
		return nil
	}
	w.stats.phase(StateActive)
	var workers sync.WaitGroup
	workers.Go(func() { w.stream.WatchPaused(ctx, w.pause) })
	for range w.cfg.Concurrency {
		workers.Go(func() { w.work(ctx) })
	}
	workers.Wait()
	return nil
}

// work takes one task after the other.
func (w *Warmer) work(ctx context.Context) {
	retry := backoff{min: 100 * time.Millisecond, max: 5 * time.Second}
	for ctx.Err() == nil {
		if w.isPaused() {
			sleep(ctx, pausedWait)
			continue
		}
		task, err := w.next(ctx)
		if err != nil {
			w.lost(StateNATSDown, err)
			sleep(ctx, retry.pause())
			continue
		}
		w.found(StateNATSDown)
		if task == nil {
			continue
		}
		if w.isPaused() { // since it was asked for
			w.end(task.Again(nextWait)) // by then none of those who wait will be given it
			continue
		}
		if server := w.handle(ctx, task); server != "" {
			w.await(ctx, server, &retry)
			continue
		}
		retry.reset()
	}
}

// pause heeds whether the instance is paused. Tasks wait in their stream.
func (w *Warmer) pause(p *stream.Pause) {
	w.mu.Lock()
	w.paused = p != nil
	w.mu.Unlock()
	if p != nil {
		w.stats.phase(StatePaused)
	} else {
		w.stats.phase(StateActive)
	}
}

func (w *Warmer) isPaused() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.paused
}

// next waits for a task; nil when there was none for a while.
func (w *Warmer) next(ctx context.Context) (*stream.Warming, error) {
	queue, err := w.taskQueue(ctx)
	if err != nil {
		return nil, err
	}
	task, err := queue.Next(ctx, nextWait)
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.queue == queue { // another worker may have a newer one
			w.queue = nil
		}
	}
	return task, err
}

func (w *Warmer) taskQueue(ctx context.Context) (*stream.WarmQueue, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.queue != nil {
		return w.queue, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var err error
	w.queue, err = w.stream.WarmQueue(ctx)
	return w.queue, err
}

// await pauses, and goes on to do so until the server answers again.
func (w *Warmer) await(ctx context.Context, server State, retry *backoff) {
	for sleep(ctx, retry.pause()) {
		if w.answers(ctx, server) == nil {
			w.found(server)
			return
		}
	}
}

func (w *Warmer) answers(ctx context.Context, server State) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	if server == StatePostgresDown {
		return w.db.Ping(ctx)
	}
	// A Redis that is full answers and refuses.
	lease, err := w.cache.Refresh(ctx, probe)
	if err != nil {
		return err
	}
	return lease.Release(ctx)
}

// lost says once that a server is away.
func (w *Warmer) lost(s State, err error) {
	if w.stats.lost(s, err) {
		w.log.Warn("no keys are warmed: a server is away", "state", string(s), "error", err)
	}
}

func (w *Warmer) found(s State) {
	if w.stats.found(s) {
		w.log.Info("the server answers again", "was", string(s))
	}
}
