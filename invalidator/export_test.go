package invalidator

import (
	"context"

	"github.com/freshet-dev/freshet/internal/stream"
)

// OnEffects makes f run between a batch's effects and its position.
func (c *Config) OnEffects(f func(context.Context)) { c.hooks.applied = f }

// OnPass makes f run at the beginning of every pass over the patterns of
// batches.
func (c *Config) OnPass(f func(context.Context)) { c.hooks.swept = f }

// OnFlush makes f run at the beginning of every flush of coverage.
func (c *Config) OnFlush(f func(context.Context)) { c.hooks.flushes = f }

// BelieveTheStream switches off what the reader says of holes: every message
// may move the position, as with an ordinary reader of a stream.
func (c *Config) BelieveTheStream() {
	var last stream.Point
	c.hooks.judge = func(item *stream.Item) {
		p := item.Point
		p.Seq, p.ID, p.LSN, p.Epoch = item.Seq, item.ID, max(p.LSN, last.LSN), last.Epoch
		switch item.Kind {
		case stream.KindMark:
			p.LSN, p.Time, p.Epoch = max(p.LSN, item.Mark.LSN), item.Mark.Time, item.Mark.Epoch
		case stream.KindStart:
			p.Epoch = item.Start.Epoch
		}
		last = p
		item.Point, item.Movable = p, true
	}
}
