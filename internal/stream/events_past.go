package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// PastEvents returns the last events, oldest first, at most so many of them, as they
// were published.
func (s *Stream) PastEvents(ctx context.Context, most int) ([]json.RawMessage, error) {
	events, err := s.js.Stream(ctx, s.cfg.eventsName())
	if err != nil {
		return nil, fmt.Errorf("read past events: %w", err)
	}
	state := events.CachedInfo().State
	if state.Msgs == 0 || most < 1 {
		return nil, nil
	}
	// Numbers are without holes but at the beginning: nobody deletes single events.
	first := max(state.FirstSeq, state.LastSeq-min(state.LastSeq, uint64(most)-1))
	reader, err := events.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: first,
	})
	if err != nil {
		return nil, fmt.Errorf("read past events: %w", err)
	}
	batch, err := reader.Fetch(int(state.LastSeq-first)+1, jetstream.FetchMaxWait(2*time.Second))
	if err != nil {
		return nil, fmt.Errorf("read past events: %w", err)
	}
	var past []json.RawMessage
	for m := range batch.Messages() {
		if json.Valid(m.Data()) {
			past = append(past, m.Data())
		}
	}
	if err := batch.Error(); err != nil {
		return nil, fmt.Errorf("read past events: %w", err)
	}
	return past, nil
}
