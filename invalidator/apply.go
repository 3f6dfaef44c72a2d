package invalidator

import (
	"context"
	"errors"
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
	// full is set while Redis refuses writes for want of memory. Deletes are
	// done, but the counters that would prove it cannot be advanced, so no
	// position is moved until the stream has been read again.
	full bool
	// counted is false while a pass has ended whose deletes no counter stands
	// behind yet.
	uncounted bool
}

// first does what has to be done before the position may be claimed: exact
// keys and tags of the coverage at once, patterns in a pass.
func (s *applying) first(ctx context.Context, b beginning) error {
	if !b.claim {
		return nil
	}
	e := &entry{point: b.from, movable: true}
	if f := b.flush; f != nil {
		if _, err := s.remove(ctx, cache.Batch{Keys: f.keys, Tags: f.tags, AllTags: f.allTags}); err != nil || ctx.Err() != nil {
			return err
		}
		s.flushes.add(passWork{patterns: f.patterns, entry: e, flush: f})
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
		var err error
		select {
		case <-ctx.Done():
			return nil
		case b, ok := <-s.batches:
			if !ok {
				return s.move(ctx)
			}
			err = s.apply(ctx, b)
		case <-s.swept:
			s.uncounted = true
			err = s.moveUnlessBusy(ctx)
		case <-tick.C:
			if err = s.probe(ctx); err == nil {
				err = s.moveUnlessBusy(ctx)
			}
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
		patterns = r.Patterns
	}
	for _, f := range b.flushes {
		todo.Keys = append(todo.Keys, f.keys...)
		todo.Tags = append(todo.Tags, f.tags...)
		todo.AllTags = todo.AllTags || f.allTags
	}
	var done cache.Applied
	if !b.empty() {
		var err error
		done, err = s.remove(ctx, todo)
		if err != nil || ctx.Err() != nil {
			return err
		}
	}
	at := time.Now()
	s.v.stats.applied(b, todo, done, at)
	s.announce(todo, b, done, at)
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
	s.queue.push(e)
	if b.evaluator != nil {
		b.evaluator.Reset()
		s.free <- b.evaluator
	}
	return s.moveUnlessBusy(ctx)
}

// remove applies until it succeeds. Redis that is merely full has done the
// deletes: that is enough to go on, not enough to move.
func (s *applying) remove(ctx context.Context, todo cache.Batch) (cache.Applied, error) {
	var done cache.Applied
	err := s.untilDone(ctx, func(ctx context.Context) (err error) {
		done, err = s.v.applier.Apply(ctx, todo)
		if err != nil && cache.IsFull(err) {
			s.full = true
			s.v.redisAway(err)
			return nil
		}
		return err
	})
	if err == nil && ctx.Err() == nil {
		s.uncounted = false
	}
	return done, err
}

// probe asks a full Redis whether it accepts writes again.
func (s *applying) probe(ctx context.Context) error {
	if !s.full {
		return nil
	}
	_, err := s.v.applier.Apply(ctx, cache.Batch{})
	switch {
	case err == nil:
		// What was deleted meanwhile has no counter behind it: a failover
		// could have undone it unseen. Read it again.
		s.v.redisBack()
		return errReread
	case errors.Is(err, cache.ErrForeignOwner), errors.Is(err, cache.ErrRolledBack):
		return err
	}
	s.v.redisAway(err)
	return nil // the next tick asks again
}

// moveUnlessBusy moves the position when nothing is waiting to be applied, and
// otherwise no more often than every moveEvery.
func (s *applying) moveUnlessBusy(ctx context.Context) error {
	if len(s.batches) > 0 && time.Since(s.moved) < moveEvery {
		return nil
	}
	return s.move(ctx)
}

// move moves the position over everything that is finished.
func (s *applying) move(ctx context.Context) error {
	s.queue.advance()
	if !s.queue.movable || s.full {
		return nil
	}
	next := s.queue.position(s.v.cfg.ID, s.rules)
	if same(next, s.written) {
		return nil
	}
	err := s.untilDone(ctx, func(ctx context.Context) error {
		err := s.v.applier.Move(ctx, next)
		if err != nil && cache.IsFull(err) {
			s.full = true
			s.v.redisAway(err)
			return nil
		}
		return err
	})
	if err != nil || ctx.Err() != nil || s.full {
		return err
	}
	s.written, s.moved = next, time.Now()
	p := s.status(next)
	s.v.stats.moved(p)
	s.marks.publish(p)
	return nil
}

func same(a, b cache.Position) bool {
	return a.Stream == b.Stream && a.Seq == b.Seq && a.ID == b.ID && a.Epoch == b.Epoch && a.LSN == b.LSN &&
		a.Time.Equal(b.Time) && a.Owner == b.Owner && a.Rules == b.Rules && a.Hold == b.Hold
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
