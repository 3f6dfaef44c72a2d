package invalidator

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/stream"
)

// role is the name of the lease that the active invalidator holds.
const role = "invalidator"

// Invalidator applies the change stream to the cache.
type Invalidator struct {
	cfg     Config
	log     *slog.Logger
	stream  *stream.Stream
	applier *cache.Applier
	rules   *rule.Set
	lookups Querier
	stats   *stats
	dead    *deadLetters
	warming *warming // nil when no rule warms

	orders chan *order // unbuffered: taken by whoever applies

	paused   atomic.Pointer[stream.Pause] // nil while not paused
	looked   chan struct{}                // closed once paused is known
	unpaused chan struct{}                // size 1: look at paused again

	observing sync.Mutex // held while Config.OnApplied runs
	terms     int        // as the active one; only used by lead
}

// New returns an invalidator that reads s, evaluates rules and applies the
// outcome through a. lookups may be nil when no rule has a lookup. The caller
// keeps ownership of all of them.
func New(cfg Config, s *stream.Stream, a *cache.Applier, rules *rule.Set, lookups Querier) (*Invalidator, error) {
	switch {
	case cfg.Name == "":
		return nil, errors.New("invalidator: the instance needs a name")
	case s == nil || a == nil || rules == nil:
		return nil, errors.New("invalidator: stream, applier and rules are required")
	}
	cfg.setDefaults()
	v := &Invalidator{
		cfg:     cfg,
		log:     cfg.Logger.With("role", role, "id", cfg.ID),
		stream:  s,
		applier: a,
		rules:   rules,
		lookups: lookups,
		stats:   newStats(cfg.ID, rules.Names()),

		orders: make(chan *order),
		looked: make(chan struct{}), unpaused: make(chan struct{}, 1),
	}
	v.dead = &deadLetters{v: v}
	var err error
	if v.warming, err = newWarming(s, rules); err != nil {
		return nil, err
	}
	return v, nil
}

// Run waits until this process leads, applies the stream, and steps down when
// ctx ends: it finishes the batch in hand, moves the position and returns nil.
// Losing the lead makes it wait again.
func (v *Invalidator) Run(ctx context.Context) error {
	v.stats.phase(StateWaiting)
	defer v.stats.phase(StateStopped)
	defer v.warming.start(ctx)()
	defer v.heed(ctx)()
	retry := backoff{min: 50 * time.Millisecond, max: 2 * time.Second}
	for ctx.Err() == nil {
		started := time.Now()
		err := v.stream.Lead(ctx, role, v.cfg.ID, v.waiting, v.lead)
		v.stats.phase(StateWaiting)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			v.log.Warn("stepped down; waiting to lead again", "error", err)
			v.stats.reason(err.Error())
		}
		if time.Since(started) > retry.max {
			retry.reset()
		}
		retry.wait(ctx)
	}
	return nil
}

func (v *Invalidator) waiting(holder string) {
	v.stats.phase(StateWaiting)
	v.stats.owner(holder)
	v.log.Info("waiting: another invalidator is active", "active", holder)
}

// lead runs while this process holds the lease. Each turn of its loop is one
// reading: from the position found on the masters until something makes it
// necessary to look there again.
func (v *Invalidator) lead(ctx context.Context) error {
	select {
	case <-v.looked:
	case <-ctx.Done():
		return nil
	}
	v.stats.phase(StateLoading)
	v.stats.owner(v.cfg.ID)
	defer v.stats.phase(StateWaiting)
	v.emit("takeover", "invalidator "+v.cfg.ID+" is active", nil)
	announcer := v.newAnnouncer()
	beats, silence := context.WithCancel(context.WithoutCancel(ctx))
	var beating sync.WaitGroup
	// Near caches trust what beats. Until the position has been taken over, a
	// former owner may still apply what it then cannot announce.
	beat := sync.OnceFunc(func() { beating.Go(func() { _ = announcer.Run(beats) }) }) // it has no error to tell
	defer beating.Wait()
	defer silence()

	retry := backoff{min: 10 * time.Millisecond, max: time.Second}
	for ctx.Err() == nil {
		started := time.Now()
		err := v.read(ctx, announcer, beat)
		if ctx.Err() != nil {
			return nil
		}
		switch {
		case errors.Is(err, cache.ErrForeignOwner):
			return err
		case errors.Is(err, cache.ErrRolledBack):
			v.emit("redis_rollback", "a Redis master forgot what was applied to it (failover, restored dump or crash); it is applied again from the lowest position", map[string]any{"detail": err.Error()})
		case err != nil:
			v.log.Error("reading the change stream ended; beginning again", "error", err)
			v.stats.reason(err.Error())
		}
		if time.Since(started) > 10*retry.max {
			retry.reset()
		}
		retry.wait(ctx)
	}
	return nil
}

func (v *Invalidator) emit(kind, message string, fields map[string]any) {
	if fields == nil {
		fields = map[string]any{}
	}
	fields["id"] = v.cfg.ID
	v.stream.Emit(stream.Event{Kind: kind, Time: time.Now(), Role: role, Message: message, Fields: fields})
}

func randomID() string { return "inv-" + rand.Text()[:10] }
