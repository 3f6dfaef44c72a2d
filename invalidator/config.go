package invalidator

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/stream"
)

// Config configures an Invalidator. Only Name is required.
type Config struct {
	// Name is the instance's name, as in the configuration file.
	Name string
	// ID names this process among those of the instance: as the position's
	// owner, as the sender of broadcasts and in status. It must be unique to
	// the process and its start. Defaults to a random name.
	ID string
	// Prefix is put before every key and pattern by the applier; it is needed
	// here because broadcasts carry the keys as they are in Redis. Defaults to
	// none.
	Prefix string
	// Batch is how many stream messages one batch holds at most. A message
	// carries the changes of up to postgres.chunk rows, and a batch also ends
	// at 20 times as many row changes. Defaults to 1000.
	Batch int
	// FlushRate is how many keys a second a flush of coverage removes at most.
	// Defaults to 20000; negative means unpaced.
	FlushRate int
	// Bulk is how many rows of one table in one transaction are published one
	// by one before the rest is announced as a single bulk change. The
	// consumer acts on it; it is kept here because it is configured under
	// invalidator. Defaults to 1000000.
	Bulk int64
	// ResendAfter is how long a break of the stream may stay without a session
	// that bridges it before the consumer is asked to send again. Defaults
	// to 2s.
	ResendAfter time.Duration
	// OnApplied, if set, is told what every batch and every pass did, after its
	// effects are in Redis. One call at a time is made; it delays the next batch
	// for as long as it takes. The slices are valid during the call only.
	// Defaults to none.
	OnApplied func(Applied)
	// Logger receives state changes and errors. Defaults to slog.Default().
	Logger *slog.Logger

	hooks hooks
}

// Querier runs the queries of rules with a lookup. A pgx pool is one.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// Applied tells an observer what one batch did.
type Applied struct {
	// Changes are the row changes of the batch, up to MaxObserved.
	Changes []Change
	// Keys, Patterns and Tags are what was invalidated, up to MaxObserved of
	// each. Patterns of a batch are reported by their own call when their pass
	// has ended, with no Changes.
	Keys, Patterns, Tags []string
	// Removed is how many values were in Redis and are gone now.
	Removed int
	// Rows is how many row changes the batch held, reported or not.
	Rows int
	// At is when Redis had confirmed it.
	At time.Time
}

// DefaultBulk is the default of Config.Bulk.
const DefaultBulk = 1_000_000

// MaxObserved is how many entries each list of an Applied holds at most.
const MaxObserved = 256

// Change is a row change as an observer sees it.
type Change struct {
	Table  cdc.TableName
	Op     cdc.Op
	LSN    cdc.LSN       // of its transaction's commit
	Commit time.Time     // Postgres' commit time
	Lag    time.Duration // from Commit to Applied.At
}

// hooks lets tests stop or disturb the invalidator at a chosen place.
type hooks struct {
	applied func(context.Context) // between a batch's effects and its position
	swept   func(context.Context) // a pass has begun and not yet ended
	flushes func(context.Context) // a flush has begun and not yet ended
	judge   func(*stream.Item)    // may overrule what the reader says of a message
}

func (c *Config) setDefaults() {
	if c.ID == "" {
		c.ID = randomID()
	}
	if c.Batch <= 0 {
		c.Batch = 1000
	}
	switch {
	case c.FlushRate == 0:
		c.FlushRate = 20000
	case c.FlushRate < 0:
		c.FlushRate = 0
	}
	if c.Bulk == 0 {
		c.Bulk = DefaultBulk
	}
	if c.ResendAfter <= 0 {
		c.ResendAfter = 2 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
}
