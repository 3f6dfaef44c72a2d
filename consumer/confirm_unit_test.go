package consumer

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/stream"
)

// awayKV is a bucket whose server has gone at the moment of a write, which cannot be
// timed with a real one.
type awayKV struct {
	jetstream.KeyValue
	away bool
}

var errAway = errors.New("nats: no responders")

func (k *awayKV) Update(context.Context, string, []byte, uint64) (uint64, error) {
	if k.away {
		return 0, errAway
	}
	return 8, nil
}

// What could not be saved is not confirmed, however often it is tried: a slot beyond
// its evidence is taken for one that somebody has moved, and everything is flushed.
func TestNothingIsConfirmedThatIsNotSaved(t *testing.T) {
	t.Parallel()
	kv := &awayKV{away: true}
	s := &session{
		c: &Consumer{cfg: Config{Confirm: Applied}}, epoch: cdc.Epoch{System: 1},
		store: evidenceStore{kv: kv, revision: 7}, evidence: &evidence{Confirmed: 100}, confirmed: 100,
	}
	s.flushed.Store(100)
	s.marked.Store(200)
	s.c.watermark.Store(&stream.Watermark{Epoch: cdc.Epoch{System: 1}, LSN: 200})
	for range 2 { // the observer's, and the last one of the session
		if err := s.confirm(t.Context()); !errors.Is(err, errAway) {
			t.Errorf("got %v, want %v", err, errAway)
		}
		if got := cdc.LSN(s.flushed.Load()); got != 100 {
			t.Fatalf("confirmed %s, saved %s", got, cdc.LSN(100))
		}
	}
	kv.away = false
	if err := s.confirm(t.Context()); err != nil || s.flushed.Load() != 200 || s.evidence.Confirmed != 200 {
		t.Errorf("got %v, confirmed %d, saved %d, want 200", err, s.flushed.Load(), s.evidence.Confirmed)
	}
}
