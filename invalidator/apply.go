package invalidator

import (
	"context"
	"slices"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/cdc"
)

// applying is the side of a reading that changes Redis and moves the position.
// One goroutine.
type applying struct {
	*reading
	queue   queue
	written cache.Position // as on the masters
	moved   time.Time      // when written was written
	unled   []*entry       // have begun, and no commit LSN stands for them; those that have ended go when the position moves
}

// unlead is called before the first step of an invalidation that no commit LSN stands
// for: the position says so until its last step is done, since what one of its keys
// holds must not go into the value of another that is gone already.
func (s *applying) unlead(ctx context.Context) error {
	if s.written.Removing {
		return nil
	}
	next := s.written
	next.Removing = true
	if err := s.write(ctx, next); err != nil || ctx.Err() != nil || s.written.Removing {
		return err
	}
	// There is no memory to say it. A missing `ahead` says less, and takes none.
	return s.untilDone(ctx, s.v.applier.ForgetAhead)
}

// first does what has to be done before the position may be claimed: exact
// keys and tags of the coverage at once, patterns in a pass.
func (s *applying) first(ctx context.Context, b beginning) error {
	if !b.claim {
		return nil
	}
	e := &entry{point: b.from, movable: true}
	if f := b.flush; f != nil {
		if err := s.unlead(ctx); err != nil || ctx.Err() != nil {
			return err
		}
		todo := cache.Batch{Keys: f.keys, Tags: f.tags, AllTags: f.allTags}
		if _, err := s.remove(ctx, todo); err != nil || ctx.Err() != nil {
			return err
		}
		s.broadcastRemoved(todo)
		s.flushes.add(passWork{patterns: f.patterns, entry: e, flush: f})
		s.unled = append(s.unled, e)
	}
	s.queue.push(e)
	return s.move(ctx)
}

// run applies batches until the reading side closes the channel, and moves the
// position a last time.
func (s *applying) run(ctx context.Context, b beginning) error {
	if err := s.first(ctx, b); err != nil {
		return err
	}
	tick := time.NewTicker(moveEvery)
	defer tick.Stop()
	for {
		batches, stopping := s.batches, (<-chan struct{})(nil)
		if s.v.paused.Load() != nil {
			// What is not taken stays in the stream. Orders go on.
			batches, stopping = nil, s.stopping
		}
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-stopping:
			return s.move(ctx)
		case <-s.v.unpaused:
		case o := <-s.v.orders:
			err = s.obey(ctx, o)
		case b, ok := <-batches:
			if !ok {
				return s.move(ctx)
			}
			err = s.apply(ctx, b)
		case <-s.swept:
			err = s.moveUnlessBusy(ctx)
		case <-tick.C:
			err = s.moveUnlessBusy(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// apply removes a batch's keys and tags, hands its patterns to the sweeper and
// queues it for the position.
func (s *applying) apply(ctx context.Context, b *batch) error {
	todo := cache.Batch{Ahead: cache.LSN(b.ahead)}
	if !b.epoch.IsZero() {
		todo.Epoch = b.epoch.String()
	}
	var patterns []string
	if r := b.result; r != nil {
		todo.Keys, todo.Tags, todo.AllTags = r.Keys, r.Tags, r.AllTags
		todo.WantExisted = s.v.warming.asks(r)
		patterns = r.Patterns
	}
	for _, f := range b.flushes {
		todo.Keys = append(todo.Keys, f.keys...)
		todo.Tags = append(todo.Tags, f.tags...)
		todo.AllTags = todo.AllTags || f.allTags
	}
	unled := len(b.flushes) > 0 || b.poisoned
	if unled {
		if err := s.unlead(ctx); err != nil || ctx.Err() != nil {
			return err
		}
	}
	var done cache.Applied
	if !b.empty() {
		var err error
		done, err = s.remove(ctx, todo)
		if err != nil || ctx.Err() != nil {
			return err
		}
	}
	// Before the passes begin: what they remove must not be filled again from a
	// standby that is behind what they stand for.
	for _, f := range b.flushes {
		if f.below == 0 {
			continue
		}
		ahead := cache.Batch{Ahead: cache.LSN(f.below - 1), Epoch: f.epoch.String()}
		if _, err := s.remove(ctx, ahead); err != nil || ctx.Err() != nil {
			return err
		}
	}
	at := time.Now()
	s.v.stats.applied(b, todo, done, at)
	s.announce(todo, b, done, at)
	if b.result != nil {
		s.v.stats.warm(s.v.warming.offer(b.result, done))
	}
	if s.v.cfg.hooks.applied != nil {
		s.v.cfg.hooks.applied(ctx)
	}

	e := &entry{point: b.point, movable: b.movable, gaps: b.gaps}
	if len(patterns) > 0 {
		// The evaluator is given back below and reuses the slice.
		s.sweeps.add(passWork{patterns: append([]string(nil), patterns...), entry: e})
	}
	for _, f := range b.flushes {
		s.flushes.add(passWork{patterns: f.patterns, entry: e, flush: f})
	}
	if unled {
		s.unled = append(s.unled, e)
	}
	s.queue.push(e)
	if b.evaluator != nil {
		b.evaluator.Reset()
		s.free <- b.evaluator
	}
	return s.moveUnlessBusy(ctx)
}

// remove applies until it succeeds. A Redis that is merely full deletes, and
// that is success here; it shows when the position is to be moved.
func (s *applying) remove(ctx context.Context, todo cache.Batch) (done cache.Applied, err error) {
	err = s.untilDone(ctx, func(ctx context.Context) (err error) {
		done, err = s.v.applier.Apply(ctx, todo)
		return err
	})
	return done, err
}

// moveUnlessBusy moves the position when nothing is waiting to be applied, and
// otherwise no more often than every moveEvery.
func (s *applying) moveUnlessBusy(ctx context.Context) error {
	if len(s.batches) > 0 && time.Since(s.moved) < moveEvery {
		return nil
	}
	return s.move(ctx)
}

// move moves the position over everything that is finished. Where there is
// nothing to move over, it proves every so often that the position is still
// there: a master that forgot what was applied to it, or took the place of one
// that applied it alone, would otherwise go unnoticed until the next message.
func (s *applying) move(ctx context.Context) error {
	s.queue.advance()
	s.unled = slices.DeleteFunc(s.unled, func(e *entry) bool { return e.pending.Load() == 0 })
	next := s.written
	if s.queue.movable {
		next = s.queue.position(s.v.cfg.ID, s.rules)
	}
	next.Removing = len(s.unled) > 0
	if same(next, s.written) {
		if time.Since(s.moved) < proveEvery {
			return nil
		}
		return s.write(ctx, next)
	}
	if err := s.v.keepHolds(ctx, &s.queue.holds); err != nil {
		s.v.log.Debug("the position waits", "error", err)
		return nil // the next tick tries again
	}
	return s.write(ctx, next)
}

// write writes the position to the masters.
func (s *applying) write(ctx context.Context, next cache.Position) error {
	full := false
	err := s.untilDone(ctx, func(ctx context.Context) error {
		err := s.v.applier.Move(ctx, next)
		if full = cache.IsFull(err); full {
			s.v.redisAway(err)
			return nil
		}
		return err
	})
	switch {
	case err != nil || ctx.Err() != nil:
		return err
	case full:
		// Deletes go on without a counter behind them. The next tick asks
		// again; when there is memory, the applier says ErrRolledBack and what
		// was deleted meanwhile is read and applied once more.
		return nil
	}
	s.v.redisBack(StateRedisFull)
	s.written, s.moved = next, time.Now()
	p := s.status(next)
	s.v.stats.moved(p)
	s.marks.publish(p)
	return nil
}

func same(a, b cache.Position) bool {
	return a.Stream == b.Stream && a.Seq == b.Seq && a.ID == b.ID && a.Epoch == b.Epoch && a.LSN == b.LSN &&
		a.Time.Equal(b.Time) && a.Owner == b.Owner && a.Rules == b.Rules && a.Hold == b.Hold && a.Removing == b.Removing
}

// status is a position as status and watermark show it.
func (s *applying) status(p cache.Position) Position {
	epoch, err := cdc.ParseEpoch(p.Epoch)
	if err != nil {
		epoch = cdc.Epoch{}
	}
	return Position{
		Stream: p.Stream, Seq: p.Seq, ID: p.ID, Epoch: epoch,
		LSN: cdc.LSN(p.LSN), Hold: cdc.LSN(p.Hold), Time: p.Time,
	}
}
