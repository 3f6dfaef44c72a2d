package stream

import (
	"context"
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// Verified reads the stream from a point along the chain to its end and
// returns the last mark reached: a new session of the mark's epoch may begin
// there without sending again what is in the stream. What lies behind a break
// is not counted, so that it is sent again. ok is false when nothing beyond
// from.LSN was reached, or the point itself is not in the stream.
//
// That the stream may grow or change afterwards does no harm: a reader that
// does not find the way to the mark sees the session's start above its
// position, which is a gap and not a silent loss.
func (s *Stream) Verified(ctx context.Context, from Point) (mark cdc.Mark, ok bool, err error) {
	if from.Seq == 0 {
		return cdc.Mark{}, false, nil
	}
	r, err := s.NewReader(ctx, from)
	if err != nil {
		return cdc.Mark{}, false, err
	}
	defer func() { _ = r.Close() }() // always nil
	for {
		items, err := r.Fetch(ctx, 1024, time.Second)
		if err != nil {
			return cdc.Mark{}, false, err
		}
		for i := range items {
			if !items[i].Movable {
				return mark, ok, nil
			}
			// A mark below the chain's LSN is of what was sent again.
			m := items[i].Mark
			if items[i].Kind == KindMark && m.LSN == items[i].Point.LSN && (m.Epoch != from.Epoch || m.LSN > from.LSN) {
				mark, ok = m, true
			}
		}
		if _, broken := r.Broken(); broken || r.caughtUp {
			return mark, ok, nil
		}
	}
}
