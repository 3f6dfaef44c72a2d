package invalidator

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/near"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/stream"
)

const (
	// drainTime bounds how long the batch in hand may take to finish after the
	// invalidator was told to stop. Whatever does not finish is applied again
	// by the next one.
	drainTime = 5 * time.Second
	// moveEvery is how often the position moves at least while batches follow
	// one another without a pause.
	moveEvery = 100 * time.Millisecond
	// proveEvery is how long a position that does not move is believed to be on
	// the masters still.
	proveEvery = time.Second
	// evaluators is how many batches exist at once: one read, one waiting, one
	// applied.
	evaluators = 3
)

// reading is one run over the stream, from the position found on the masters
// until the position has to be looked up again. Its goroutines are the reading
// side (fetch, decode, evaluate), the applying side (Redis, position), the two
// sweepers, and the watermark's publisher.
type reading struct {
	v      *Invalidator
	reader *stream.Reader
	rules  string // fingerprint written with every position

	batches chan *batch          // size 1: the next batch is evaluated while one is applied
	free    chan *rule.Evaluator // size evaluators
	adopt   chan stream.Break    // size 1: coverage for this break is flushed
	swept   chan struct{}        // size 1: a pass has ended

	sweeps  *sweeper
	flushes *sweeper
	marks   *publisher

	announcer *near.Announcer

	stopping <-chan struct{} // closed when the invalidator was told to stop
	giveUp   func()          // ends what is done beyond that
}

// read performs one reading. It calls taken once the position is its own.
func (v *Invalidator) read(ctx context.Context, announcer *near.Announcer, taken func()) error {
	v.stats.phase(StateLoading)
	r := &reading{
		v:       v,
		rules:   v.fingerprint(),
		batches: make(chan *batch, 1),
		free:    make(chan *rule.Evaluator, evaluators),
		adopt:   make(chan stream.Break, 1),
		swept:   make(chan struct{}, 1),

		announcer: announcer,

		stopping: ctx.Done(),
		giveUp:   func() {},
	}
	for range evaluators {
		r.free <- v.rules.Evaluator()
	}
	r.sweeps = newSweeper(r.swept, v.stats.pending, r.sweepPatterns)
	r.flushes = newSweeper(r.swept, func(int) {}, r.sweepCoverage)
	r.marks = newPublisher(v)

	var b beginning
	err := r.untilDone(ctx, func(ctx context.Context) (err error) {
		if b, err = v.begin(ctx); err != nil {
			return err
		}
		return v.applier.TakeOver(ctx, b.written)
	})
	if err != nil || ctx.Err() != nil {
		return err
	}
	taken()
	v.redisBack(StateRedisFull)
	r.reader, err = v.stream.NewReader(ctx, b.from)
	if err != nil {
		return err
	}
	defer r.reader.Close() // nothing is lost with it

	// The sides that touch Redis outlive ctx long enough to finish what is in
	// hand; the reading side ends with ctx.
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	r.giveUp = func() { cancel(context.Cause(ctx)) }
	defer context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(drainTime, func() { cancel(context.Cause(ctx)) })
		context.AfterFunc(work, func() { timer.Stop() })
	})()

	side := &applying{reading: r, queue: queue{holds: b.holds}, written: b.written}
	v.stats.moved(side.status(b.written))
	v.stats.phase(StateActive)

	group, all := errgroup.WithContext(work)
	intake, stop := context.WithCancel(all) // ends with ctx, or with the group
	defer context.AfterFunc(ctx, stop)()
	defer stop()
	passes, stopPasses := context.WithCancel(all)
	defer stopPasses()
	group.Go(func() error {
		defer close(r.batches)
		return newIntake(r, b.from).run(intake)
	})
	group.Go(func() error {
		// Passes and the publisher serve the applying side and end with it.
		defer stopPasses()
		return side.run(all, b)
	})
	group.Go(func() error { return r.sweeps.run(passes) })
	group.Go(func() error { return r.flushes.run(passes) })
	group.Go(func() error { return r.marks.run(passes) })
	return group.Wait()
}

// untilDone repeats f for as long as Redis (or whatever else f needs) is away.
// It returns nil when f succeeded or ctx ended, and an error only when
// repeating cannot help: the position is another's, or was rolled back.
func (r *reading) untilDone(ctx context.Context, f func(context.Context) error) error {
	retry := backoff{min: 5 * time.Millisecond, max: time.Second}
	for {
		err := f(ctx)
		switch {
		case err == nil:
			r.v.redisBack(StateRedisDown)
			return nil
		case ctx.Err() != nil:
			return nil //nolint:nilerr // told to stop; the caller looks at ctx
		case errors.Is(err, cache.ErrForeignOwner), errors.Is(err, cache.ErrRolledBack):
			return err
		case errors.Is(err, errNATS):
			r.v.stats.reason(err.Error())
			r.v.log.Debug("waiting for the change stream", "error", err)
		default:
			r.v.redisAway(err)
		}
		select {
		case <-r.stopping:
			// Whoever reads on from the position does it again.
			r.giveUp()
			return nil
		default:
		}
		retry.wait(ctx)
	}
}

// redisAway says once that Redis does not do what it was asked to.
func (v *Invalidator) redisAway(err error) {
	state := StateRedisDown
	message := "Redis does not answer; the changes wait in the stream and the slot"
	if cache.IsFull(err) {
		state = StateRedisFull
		message = "Redis refuses writes for want of memory (raise maxmemory or set an eviction policy); deletes go on, the position stays"
	}
	if !v.stats.trouble(state, err) {
		return
	}
	v.emit(string(state), message, map[string]any{"error": err.Error()})
}

// redisBack ends what redisAway said about one kind of trouble. A Redis that
// deletes may still be full, so only what was written ends that.
func (v *Invalidator) redisBack(state State) {
	if v.stats.calm(state) {
		v.log.Info("redis does what it is asked to again", "was", state)
	}
}
