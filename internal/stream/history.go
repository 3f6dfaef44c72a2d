package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// historyWait is how long a stream may give nothing of what it has.
const historyWait = 10 * time.Second

// History reads what the stream retains, from a moment on to where it ended when
// the history was opened, beside any reader and without a position. It knows
// nothing of continuity: it is for applying again what was applied before.
type History struct {
	// From and To are the stream sequences of the first message and of the last.
	// From is greater than To when there is nothing to read.
	From, To uint64
	// Begins is when the first message that the stream retained was stored, zero
	// for an empty stream. Complete says that nothing was removed from the stream
	// that belongs to the history. It becomes false when what had been there is
	// found to be removed while the history is read.
	Begins   time.Time
	Complete bool

	decoder  decoder
	consumer jetstream.Consumer
	lsn      cdc.LSN // messages below are passed over
	last     uint64  // sequence of the last message read, or passed over by the start
	hole     bool    // something is missing before the next message
	ended    bool
}

// History opens the history of what was published since a time, or, if lsn is not
// zero, of the transactions that committed at or after that LSN of the present epoch.
func (s *Stream) History(ctx context.Context, since time.Time, lsn cdc.LSN) (*History, error) {
	name := s.cfg.streamName()
	fail := func(err error) (*History, error) { return nil, fmt.Errorf("history of stream %q: %w", name, err) }
	stream, err := s.js.Stream(ctx, name)
	if err != nil {
		return fail(err)
	}
	state := stream.CachedInfo().State
	h := &History{To: state.LastSeq, Begins: state.FirstTime, decoder: newDecoder(s.Subjects()), lsn: lsn}
	cfg := jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy}
	switch {
	case lsn != 0:
		// What was removed may have been of the LSN or later, if the first message
		// that is left does not show otherwise.
		h.Complete = state.FirstSeq <= 1
		if !h.Complete && state.Msgs > 0 {
			first, err := stream.GetMsg(ctx, state.FirstSeq)
			if err == nil {
				found, parsed := cdc.ParseLSN(headerValue(first.Header, headerLSN))
				h.Complete = parsed == nil && found < lsn
			}
		}
	default:
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
		h.Complete = state.FirstSeq <= 1 || h.Begins.Before(since)
	}
	if h.consumer, err = stream.OrderedConsumer(ctx, cfg); err != nil {
		return fail(err)
	}
	info, err := h.consumer.Info(ctx)
	if err != nil {
		return fail(err)
	}
	h.last = info.Delivered.Stream
	h.From = h.To + 1
	if n := info.NumPending; n > 0 {
		h.From = h.To - min(n, h.To) + 1
	}
	h.ended = h.From > h.To
	return h, nil
}

// Next returns the next items, at least one and at most limit, and io.EOF behind the last.
func (h *History) Next(ctx context.Context, limit int) ([]Item, error) {
	for silent := time.Now(); !h.ended; {
		// All of it is there: a fetch that waits would wait for more than there is.
		batch, err := h.consumer.FetchNoWait(limit)
		if err != nil {
			return nil, fmt.Errorf("read history: %w", err)
		}
		var items []Item
		received := false
		for msg := range batch.Messages() {
			received = true
			meta, err := msg.Metadata()
			if err != nil {
				return nil, fmt.Errorf("read history: %w", err)
			}
			seq := meta.Sequence.Stream
			if seq > h.To {
				h.ended = true
				break
			}
			h.hole = h.hole || seq != h.last+1
			h.last = seq
			h.ended = h.ended || seq == h.To || meta.NumPending == 0
			var item Item
			h.decoder.decode(&item, &nats.Msg{Subject: msg.Subject(), Header: msg.Headers(), Data: msg.Data()}, seq)
			if item.Kind == KindChange && item.LSN < h.lsn || item.Kind == KindGap && item.Gap.LSN < h.lsn {
				h.hole = false // what is missing before it was below as well
				continue
			}
			if h.hole && (h.ended || item.Kind != KindMark && item.Kind != KindStart) {
				h.Complete = false
			}
			items = append(items, item)
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("read history: %w", ctx.Err())
		}
		if err := batch.Error(); err != nil && !errors.Is(err, nats.ErrTimeout) {
			return nil, fmt.Errorf("read history: %w", err)
		}
		switch {
		case len(items) > 0:
			return items, nil
		case received:
			silent = time.Now()
		case time.Since(silent) < historyWait:
			sleep(ctx, 20*time.Millisecond)
		default:
			return nil, fmt.Errorf("read history: the stream has not answered for %s", historyWait)
		}
	}
	return nil, io.EOF
}
