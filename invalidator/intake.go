package invalidator

import (
	"context"
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/stream"
)

const (
	// fetchWait is how long a fetch waits for the first message. It bounds how
	// late a break without messages and a finished flush are noticed.
	fetchWait = 200 * time.Millisecond
	// rowsPerMessage times Config.Batch is how many row changes end a batch.
	rowsPerMessage = 20
)

// intake is the reading side: it fetches messages, decodes and evaluates them,
// and hands over batches in stream order. One goroutine; the reader is its own.
type intake struct {
	*reading
	items  []stream.Item // fetched and not yet in a batch
	last   stream.Point  // the last point that the position may move to
	fresh  bool          // began at the stream's first message: nothing was known of it
	breach breach
	breaks int // of the reader, as last looked at

	kept   []kept         // messages of the batch that wait for lookups
	spare  []*cdc.Message // to decode into
	wanted []rule.Lookup
	away   bool         // the database has not been answering lookups
	dead   *deadLetters // nil: what cannot be evaluated is widened and not kept
	// flushed names the gap messages whose coverage was flushed in this
	// reading: a repetition of one needs no second flush.
	flushed map[string]struct{}
}

func newIntake(r *reading, from stream.Point) *intake {
	return &intake{reading: r, last: from, fresh: from.Seq == 0, dead: r.v.dead, flushed: make(map[string]struct{})}
}

// run reads until ctx ends.
func (in *intake) run(ctx context.Context) error {
	for {
		if len(in.items) == 0 {
			items, err := in.reader.Fetch(ctx, in.v.cfg.Batch, fetchWait)
			if ctx.Err() != nil {
				return nil //nolint:nilerr // told to stop
			}
			if err != nil {
				return err
			}
			in.items = items
		}
		flush := in.watch(ctx)
		if len(in.items) == 0 && flush == nil {
			continue
		}
		var evaluator *rule.Evaluator
		select {
		case <-ctx.Done():
			return nil
		case evaluator = <-in.free:
		}
		b := in.build(ctx, evaluator)
		if flush != nil {
			b.flushes = append(b.flushes, flush)
		}
		select {
		case <-ctx.Done():
			return nil
		case in.batches <- b:
		}
	}
}

// build makes a batch of the messages at hand, up to the bounds.
func (in *intake) build(ctx context.Context, evaluator *rule.Evaluator) *batch {
	b := &batch{evaluator: evaluator}
	n := 0
	for n < len(in.items) && b.rows < in.v.cfg.Batch*rowsPerMessage {
		if !in.add(ctx, b, &in.items[n]) {
			break
		}
		n++
	}
	in.items = in.items[n:]
	in.answer(ctx, b)
	b.messages = n
	b.result = evaluator.Result()
	return b
}

// add evaluates one message; false means that it belongs into the next batch.
func (in *intake) add(ctx context.Context, b *batch, item *stream.Item) bool {
	if judge := in.v.cfg.hooks.judge; judge != nil {
		judge(item)
	}
	switch item.Kind {
	case stream.KindChange:
		if !in.change(ctx, b, item) {
			return false
		}
	case stream.KindGap:
		in.gap(b, item)
	case stream.KindForeign:
		in.poison(ctx, b, item, "not a message of this instance, or not readable")
	case stream.KindStart, stream.KindMark:
	}
	if item.Movable {
		b.point, b.movable = item.Point, true
		in.last = item.Point
	}
	return true
}

// change evaluates a change message.
func (in *intake) change(ctx context.Context, b *batch, item *stream.Item) bool {
	m := in.message()
	if err := cdc.Decode(item.Data, m); err != nil {
		in.spare = append(in.spare, m)
		in.poison(ctx, b, item, err.Error())
		return true
	}
	if b.ahead != 0 && m.Epoch != b.epoch {
		// LSNs of two epochs have no highest one.
		in.spare = append(in.spare, m)
		return false
	}
	b.epoch, b.ahead = m.Epoch, max(b.ahead, m.LSN)
	b.rows += len(m.Changes)
	for i := range m.Transactions {
		b.commits = append(b.commits, m.Transactions[i].Time)
	}
	in.observe(b, m)

	in.wanted = b.evaluator.Lookups(m, in.wanted)
	if len(in.wanted) > 0 {
		// It may need an answer that another message of the batch has asked
		// for already.
		in.kept = append(in.kept, kept{message: m, data: item.Data})
		return true
	}
	in.evaluate(ctx, b, m, item.Data, nil)
	in.spare = append(in.spare, m)
	return true
}

// message returns a message to decode into.
func (in *intake) message() *cdc.Message {
	n := len(in.spare)
	if n == 0 {
		return new(cdc.Message)
	}
	m := in.spare[n-1]
	in.spare = in.spare[:n-1]
	return m
}

// evaluate adds a message to the batch and reports the rows that a rule could
// not be evaluated on; the evaluator has widened those already.
func (in *intake) evaluate(ctx context.Context, b *batch, m *cdc.Message, data []byte, lookups rule.LookupResults) {
	result := b.evaluator.Result()
	before, lost := len(result.RowErrors), result.LostOld
	b.evaluator.Add(m, lookups)
	if result.LostOld > lost {
		in.v.lostOld(cdc.TableName{Schema: m.Schema, Table: m.Table}, time.Now())
	}
	for _, e := range result.RowErrors[before:] {
		in.dead.letter(ctx, e.Table, "rule "+e.Rule+": "+e.Reason, data)
	}
}

// observe keeps what the observer wants to see of a message.
func (in *intake) observe(b *batch, m *cdc.Message) {
	if in.v.cfg.OnApplied == nil {
		return
	}
	for i := range m.Changes {
		if len(b.changes) == MaxObserved {
			return
		}
		c := Change{Table: cdc.TableName{Schema: m.Schema, Table: m.Table}, Op: m.Changes[i].Op}
		if tx := m.Changes[i].Tx; tx >= 0 && tx < len(m.Transactions) {
			c.LSN, c.Commit = m.Transactions[tx].LSN, m.Transactions[tx].Time
		}
		b.changes = append(b.changes, c)
	}
}
