package warmer

import (
	"context"
	"errors"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/stream"
)

const (
	// refusedDeliveries is how often a task is tried whose key changed meanwhile. By
	// then readers have asked for it, or nobody does.
	refusedDeliveries = 3
	// refusedPause is how long it waits in between.
	refusedPause = 50 * time.Millisecond
	// awayPause is how long a task waits whose server was away.
	awayPause = time.Second
	// workingEvery is how often the stream hears that a task is worked on.
	workingEvery = 10 * time.Second
	// releaseTime bounds giving back a lease when the warmer stops.
	releaseTime = time.Second
)

// document is a query's answer, which is stored as it is, past any codec.
type document []byte

var (
	_ cache.Marshaler   = (*document)(nil)
	_ cache.Unmarshaler = (*document)(nil)
)

// MarshalCache returns the JSON that Postgres returned.
func (d *document) MarshalCache() ([]byte, error) { return *d, nil }

// UnmarshalCache keeps what is stored.
func (d *document) UnmarshalCache(data []byte) error {
	*d = append((*d)[:0], data...)
	return nil
}

// outcome is what became of a query's answer.
type outcome uint8

const (
	filled outcome = iota
	refused
	missing
)

func (o outcome) count(r *Results) {
	switch o {
	case filled:
		r.Filled++
	case refused:
		r.Refused++
	case missing:
		r.Missing++
	}
}

// handle does one task. It returns the state of the server that was away, empty for
// none.
func (w *Warmer) handle(ctx context.Context, t *stream.Warming) (away State) {
	task, err := t.Task()
	if err != nil {
		w.stats.result("", func(r *Results) { r.Dropped++ })
		w.end(t.Done())
		return ""
	}
	query, ok := w.rules.WarmByID(task.Query)
	if !ok || w.stats.pausing(query.ID) {
		// Made under other rules; or the query would fail again.
		w.stats.result(query.Rule, func(r *Results) { r.Dropped++ })
		w.end(t.Done())
		return ""
	}
	if !w.claim(task.Key) {
		// That one takes its lease and asks later than this one came.
		w.stats.result(query.Rule, func(r *Results) { r.Merged++ })
		w.end(t.Done())
		return ""
	}
	defer w.keepWorking(t)()
	err = w.permits.wait(ctx)
	w.unclaim(task.Key)
	var o outcome
	if err == nil {
		o, err = w.fill(ctx, task, query)
	}
	var failed *queryError
	switch {
	case err == nil:
		w.stats.result(query.Rule, o.count)
		if o == refused && t.Delivery() < refusedDeliveries {
			// The change that voided it found nothing to remove, so made no task.
			w.end(t.Again(refusedPause))
		} else {
			w.end(t.Done())
		}
	case ctx.Err() != nil:
		w.end(t.Again(0)) // another warmer's
	case errors.As(err, &failed):
		w.failed(query, failed)
		w.end(t.Done())
	case errors.Is(err, errAway):
		away = StatePostgresDown
	case errors.Is(err, cache.ErrKey):
		w.stats.result(query.Rule, func(r *Results) { r.Dropped++ })
		w.end(t.Done())
	default:
		away = StateRedisDown
	}
	if away != "" {
		w.lost(away, err)
		w.end(t.Again(awayPause))
	}
	return away
}

// fill brings a key up to date: lease, query, fill by compare, in this order. Whatever
// is committed after the query's snapshot began is invalidated after the lease was
// taken, and voids it.
func (w *Warmer) fill(ctx context.Context, task stream.WarmTask, query rule.WarmQuery) (o outcome, err error) {
	lease, err := w.cache.Refresh(ctx, task.Key)
	if err != nil {
		return o, err
	}
	defer func() {
		if err != nil {
			// Readers of the key must not wait for what will not come.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTime)
			defer cancel()
			_ = lease.Release(ctx) // it expires
		}
	}()
	w.cfg.hooks.call(ctx, w.cfg.hooks.leased, task.Key)
	value, found, err := w.load(ctx, query.SQL, task.Args)
	if err != nil {
		return o, err
	}
	if w.stats.worked(query.Rule, query.ID) {
		w.log.Info("a warm query works again", "rule", query.Rule)
	}
	w.found(StatePostgresDown)
	w.cfg.hooks.call(ctx, w.cfg.hooks.queried, task.Key)

	var done bool
	switch {
	case found:
		o = filled
		done, err = lease.Fill(ctx, &value, query.TTL)
	case query.Missing == rule.MissingAbsent:
		o = missing
		done, err = lease.Remove(ctx, w.cfg.Absent)
	default:
		o = missing
		done, err = lease.Remove(ctx, 0)
	}
	if err != nil {
		return o, err
	}
	if !done {
		o = refused
	}
	w.found(StateRedisDown)
	return o, nil
}

// failed counts a query that failed, and says so when it begins to.
func (w *Warmer) failed(query rule.WarmQuery, err *queryError) {
	if !w.stats.failed(query.Rule, query.ID, err.reason) {
		return
	}
	w.stream.Emit(stream.Event{
		Kind: "warm_failed", Role: role,
		Message: "a warm query fails; its keys are left to readers, and it is tried again with growing pauses",
		Fields:  map[string]any{"id": w.cfg.ID, "rule": query.Rule, "key": query.Key, "reason": err.reason},
	})
}

// claim notes that a task for the key is about to begin; false when one was already.
func (w *Warmer) claim(key string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.waiting[key]; ok {
		return false
	}
	w.waiting[key] = struct{}{}
	return true
}

func (w *Warmer) unclaim(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.waiting, key)
}

// keepWorking tells the stream now and then that the task is not lost, until the
// returned function is called.
func (w *Warmer) keepWorking(t *stream.Warming) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(workingEvery)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				w.end(t.Working())
			}
		}
	}()
	return func() { close(done); <-ended }
}

// end looks at how the stream was told of a task. If it was not, the task is delivered
// once more, which costs a query.
func (w *Warmer) end(err error) {
	if err != nil {
		w.log.Debug("a warm task was not acknowledged", "error", err)
	}
}
