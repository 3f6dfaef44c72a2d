package warmer

import (
	"context"

	"github.com/freshet-dev/freshet/internal/stream"
)

// OnLeased makes f run between lease and query, OnQueried between query and fill.
func OnLeased(c *Config, f func(ctx context.Context, key string))  { c.hooks.leased = f }
func OnQueried(c *Config, f func(ctx context.Context, key string)) { c.hooks.queried = f }

// Do does one task without a stream, and reports whether what it read was stored.
func (w *Warmer) Do(ctx context.Context, task stream.WarmTask) (stored bool, err error) {
	query, _ := w.rules.WarmByID(task.Query)
	o, err := w.fill(ctx, task, query)
	return o != refused, err
}
