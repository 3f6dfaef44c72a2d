package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// Watermark is what the invalidator publishes on NATS and in KV.
type Watermark struct {
	Epoch  cdc.Epoch `json:"epoch"`
	LSN    cdc.LSN   `json:"lsn"`
	Hold   cdc.LSN   `json:"hold,omitempty"`
	Time   time.Time `json:"time"`
	Stream string    `json:"stream"`
	Seq    uint64    `json:"seq"`
	ID     string    `json:"id"` // message id at Seq
}

// Point returns the place in the stream that the watermark stands for.
func (w Watermark) Point() Point {
	return Point{Stream: w.Stream, Seq: w.Seq, ID: w.ID, LSN: w.LSN, Time: w.Time, Epoch: w.Epoch}
}

// watermarkQuiet is how long the core subject may be quiet before the bucket
// is looked at: core messages are lost while disconnected, and a watermark may
// have stopped moving before we began to listen.
const watermarkQuiet = time.Second

// PutWatermark announces the watermark on its core subject and keeps it in the
// bucket. The announcement goes out even when the bucket cannot be written.
func (s *Stream) PutWatermark(ctx context.Context, w Watermark) error {
	data, err := json.Marshal(w)
	if err != nil {
		return fmt.Errorf("encode watermark: %w", err)
	}
	err = s.nc.Publish(s.Subjects().Watermark(), data)
	_, kvErr := s.kv.Put(ctx, keyWatermark, data)
	if err := errors.Join(err, kvErr); err != nil {
		return fmt.Errorf("put watermark: %w", err)
	}
	return nil
}

// LastWatermark returns the watermark in the bucket, and whether there is one.
func (s *Stream) LastWatermark(ctx context.Context) (Watermark, bool, error) {
	w, _, ok, err := s.lastWatermark(ctx)
	return w, ok, err
}

func (s *Stream) lastWatermark(ctx context.Context) (w Watermark, revision uint64, ok bool, err error) {
	entry, err := s.kv.Get(ctx, keyWatermark)
	if isMissingKey(err) {
		return Watermark{}, 0, false, nil
	}
	if err != nil {
		return Watermark{}, 0, false, fmt.Errorf("read watermark: %w", err)
	}
	if err := json.Unmarshal(entry.Value(), &w); err != nil {
		return Watermark{}, 0, false, fmt.Errorf("read watermark: %w", err)
	}
	return w, entry.Revision(), true, nil
}

// WatchWatermark calls f with the present watermark, if there is one, and with
// every later one that it hears of, from one goroutine, until ctx ends; then it
// returns nil.
func (s *Stream) WatchWatermark(ctx context.Context, f func(Watermark)) error {
	heard := make(chan *nats.Msg, 64) // more than one watermark behind is no use, but loss looks like quiet
	sub, err := s.nc.ChanSubscribe(s.Subjects().Watermark(), heard)
	if err != nil {
		return fmt.Errorf("watch watermark: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only on a closed connection
	var revision uint64
	look := func() {
		w, at, ok, err := s.lastWatermark(ctx)
		if err == nil && ok && at != revision {
			revision = at
			f(w)
		}
	}
	look()
	timer := time.NewTimer(watermarkQuiet)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case msg := <-heard:
			var w Watermark
			if json.Unmarshal(msg.Data, &w) == nil {
				f(w)
			}
		case <-timer.C:
			look()
		}
		timer.Reset(watermarkQuiet)
	}
}
