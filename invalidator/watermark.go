package invalidator

import (
	"context"
	"time"

	"github.com/freshet-dev/freshet/internal/stream"
)

// watermarkEvery is how often the watermark is published at most. It is
// written to the KV bucket too, where the consumer reads it, so it costs a
// write to the stream's disk.
const watermarkEvery = 100 * time.Millisecond

// publisher announces the position on NATS, the newest one only.
type publisher struct {
	v    *Invalidator
	next chan Position // size 1: the newest not yet published
}

func newPublisher(v *Invalidator) *publisher {
	return &publisher{v: v, next: make(chan Position, 1)}
}

// publish replaces what waits by p. One goroutine; it never blocks.
func (p *publisher) publish(pos Position) {
	select {
	case <-p.next:
	default:
	}
	p.next <- pos
}

// run publishes until ctx ends, and then what waits.
func (p *publisher) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			select {
			case pos := <-p.next:
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTime)
				defer cancel()
				p.put(ctx, pos)
			default:
			}
			return nil
		case pos := <-p.next:
			p.put(ctx, pos)
		}
		timer := time.NewTimer(watermarkEvery)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (p *publisher) put(ctx context.Context, pos Position) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	err := p.v.stream.PutWatermark(ctx, stream.Watermark{
		Epoch: pos.Epoch, LSN: pos.LSN, Hold: pos.Hold, Time: pos.Time,
		Stream: pos.Stream, Seq: pos.Seq, ID: pos.ID,
	})
	if err != nil {
		// The next position carries all that this one did. While NATS is away
		// nothing confirms, which is what has to happen.
		p.v.log.Debug("the watermark was not published", "error", err)
		select {
		case p.next <- pos:
		default:
		}
	}
}
