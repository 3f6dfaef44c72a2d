package invalidator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/rule"
)

// replayKeys is how many names one order of a replay holds: the stream's own
// batches wait for no more.
const replayKeys = 500

// ReplayFrom says where a replay begins.
type ReplayFrom struct {
	// Since is the time of publishing. It counts when LSN is zero.
	Since time.Time
	// LSN is a commit LSN of the present epoch.
	LSN cdc.LSN
}

// ReplayProgress is how far a replay is.
type ReplayProgress struct {
	Messages int64 `json:"messages"` // of the stream, read so far
	Of       int64 `json:"of"`       // there were when it began
	Changes  int64 `json:"changes"`  // row changes applied again
	Targets  int64 `json:"targets"`  // keys, patterns and tags invalidated again
	Removed  int64 `json:"removed"`  // values that were there
	// Complete is false when the stream no longer has all that was asked for;
	// Begins is when what it has begins.
	Complete bool      `json:"complete"`
	Begins   time.Time `json:"begins"`
}

// Replay applies retained history again beside the running stream: what a value
// that was stored too late, or restored, should have been removed by (I4). It moves
// nothing and is paced by Config.FlushRate. progress, if set, is called about once
// a second and at the end. It fails with ErrNotActive where this is not the active
// invalidator, or is not any more.
func (v *Invalidator) Replay(ctx context.Context, from ReplayFrom, progress func(ReplayProgress)) (ReplayProgress, error) {
	var p ReplayProgress
	if !v.Status().Active {
		return p, ErrNotActive
	}
	history, err := v.stream.History(ctx, from.Since, from.LSN)
	if err != nil {
		return p, err
	}
	p.Complete, p.Begins = history.Complete, history.Begins
	if history.From <= history.To {
		p.Of = int64(history.To - history.From + 1)
	}
	// What is read is evaluated as the stream's own batches are. What cannot be was
	// copied to the dead letters when the stream brought it.
	in := &intake{reading: &reading{v: v}, flushed: make(map[string]struct{})}
	evaluator := v.rules.Evaluator()
	told := time.Now()
	for {
		items, err := history.Next(ctx, v.cfg.Batch)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return p, err
		}
		p.Complete = history.Complete
		for len(items) > 0 {
			b := &batch{evaluator: evaluator}
			n := 0
			for n < len(items) && b.rows < v.cfg.Batch*rowsPerMessage && in.add(ctx, b, &items[n]) {
				n++
			}
			p.Messages += int64(n)
			items = items[n:]
			in.answer(ctx, b)
			p.Changes += int64(b.rows)
			if err := v.again(ctx, b, &p); err != nil {
				return p, err
			}
			evaluator.Reset()
		}
		if progress != nil && time.Since(told) > time.Second {
			told = time.Now()
			progress(p)
		}
	}
	p.Messages = max(p.Messages, p.Of) // some of them had been removed, or were passed over
	if progress != nil {
		progress(p)
	}
	return p, nil
}

// again applies what a batch of history invalidates, in small orders.
func (v *Invalidator) again(ctx context.Context, b *batch, p *ReplayProgress) error {
	targets := targetsOf(b.evaluator.Result())
	for _, f := range b.flushes {
		targets.Keys = append(targets.Keys, f.keys...)
		targets.Tags = append(targets.Tags, f.tags...)
		targets.Patterns = append(targets.Patterns, f.patterns...)
		targets.AllTags = targets.AllTags || f.allTags
	}
	for !targets.empty() {
		var part Targets
		part.Keys, targets.Keys = cut(targets.Keys)
		part.Tags, targets.Tags = cut(targets.Tags)
		part.Patterns, targets.Patterns = targets.Patterns, nil // they share a pass
		part.AllTags, targets.AllTags = targets.AllTags, false
		began := time.Now()
		removed, err := v.Invalidate(ctx, part)
		if err != nil {
			return fmt.Errorf("replay: %w", err)
		}
		n := len(part.Keys) + len(part.Tags) + len(part.Patterns)
		p.Targets += int64(n)
		p.Removed += int64(removed)
		if v.cfg.FlushRate > 0 {
			least := time.Duration(n) * time.Second / time.Duration(v.cfg.FlushRate)
			pause(ctx, least-time.Since(began))
		}
	}
	return nil
}

// targetsOf copies what an evaluator found, which it will reuse.
func targetsOf(r *rule.Result) Targets {
	return Targets{
		Keys:     append([]string(nil), r.Keys...),
		Patterns: append([]string(nil), r.Patterns...),
		Tags:     append([]string(nil), r.Tags...),
		AllTags:  r.AllTags,
	}
}

func cut(names []string) (head, tail []string) {
	n := min(len(names), replayKeys)
	return names[:n], names[n:]
}

func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
