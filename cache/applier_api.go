package cache

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"
)

// SKELETON: signatures agreed between packages; the owner spreads them over files and removes this one.

// LSN is a position in Postgres' write-ahead log, in bytes.
type LSN uint64

// Position is how far the invalidator has applied the stream, kept on every Redis master beside its effects.
type Position struct {
	Stream string    // the change stream's random id
	Seq    uint64    // sequence of the last message applied
	ID     string    // its message id
	Epoch  string    // epoch of LSN
	LSN    LSN       // every transaction with a lower commit LSN is applied
	Time   time.Time // the mark's time: everything committed before it is applied
	Owner  string    // the invalidator that may move it
	Rules  string    // fingerprint of the rules it was applied with
	Hold   LSN       // while not zero: what may be believed, smaller than LSN (a gap's second flush is due)
}

var (
	// ErrForeignOwner is returned when another invalidator has taken the position over: step down.
	ErrForeignOwner = errors.New("cache: another invalidator owns the position")
	// ErrRolledBack is returned when a master's counter or position is not what was left there: it forgot deletes. Load again.
	ErrRolledBack = errors.New("cache: a Redis master forgot what was applied to it")
)

// ApplierConfig configures an Applier.
type ApplierConfig struct {
	Name      string  // the instance's name, in the bookkeeping keys
	Prefix    string  // put before every key and pattern, as in Config.Prefix
	ScanShare float64 // share of Redis' time that pattern scans may take; default 0.2
	Pipeline  int     // commands per pipeline at most; default 1000
	Logger    *slog.Logger
}

// Applier applies invalidations to Redis (single, Sentinel, Cluster) or to a memory store and keeps the position where its effects are.
// Freshet's invalidator uses it; services use Cache. One goroutine.
type Applier struct{}

// NewApplier wraps rdb, whose options must have MaxRetries -1 (OpenApplier sets that).
func NewApplier(rdb redis.UniversalClient, cfg ApplierConfig) (*Applier, error) { panic("skeleton") }

// OpenApplier opens url as Open does, with connections that never retry by themselves.
func OpenApplier(url string, cfg ApplierConfig) (*Applier, error) { panic("skeleton") }

// Applier returns an applier over the cache's own store when that is in memory (demo and development).
func (c *Cache) Applier(cfg ApplierConfig) (*Applier, error) { panic("skeleton") }

// Load reads every master's position and counter. Lowest is the lowest position; Verdict says what must be done before going on.
func (a *Applier) Load(ctx context.Context) (Loaded, error) { panic("skeleton") }

// Loaded is what Load found.
type Loaded struct {
	Verdict  Verdict
	Position Position // the lowest, for VerdictContinue
	Masters  int
	Detail   string // for people: which master, what
}

// Verdict is what the masters' positions mean.
type Verdict uint8

const (
	VerdictContinue Verdict = iota // positions found: go on from the lowest
	VerdictEmpty                   // every master is empty of keys: write the position, nothing to flush
	VerdictLost                    // no position (or of another instance's shape) but keys are there, or a master lost it together with its run: flush all coverage
)

// TakeOver writes p with its Owner to every master and starts the counters anew. Must precede Apply.
func (a *Applier) TakeOver(ctx context.Context, p Position) error { panic("skeleton") }

// Batch is what one Apply removes.
type Batch struct {
	Keys    []string
	Tags    []string
	AllTags bool
	Ahead   LSN    // highest commit LSN in the batch
	Epoch   string // its epoch
}

// Applied is what an Apply did.
type Applied struct {
	Existed  map[string]struct{} // keys that were present, filled only when WantExisted
	Removed  int                 // values that were there
	Commands int
}

// Apply raises ahead, removes leases then values, bumps tags, advances the counters; every reply is checked. On any error the caller
// calls it again with the same batch until it succeeds (the whole pipeline is repeated), or acts on ErrForeignOwner and ErrRolledBack.
func (a *Applier) Apply(ctx context.Context, b Batch) (Applied, error) { panic("skeleton") }

// Move moves the position on every master from the last one moved to (or taken over) to p, comparing counter, owner and old position.
func (a *Applier) Move(ctx context.Context, p Position) error { panic("skeleton") }

// Sweep invalidates patterns: pass 1 leases, pass 2 values, on every master, all patterns sharing the passes.
func (a *Applier) Sweep(ctx context.Context, patterns []string) (Swept, error) { panic("skeleton") }

// Flush is Sweep paced to rate keys per second (0: unpaced), for coverage. progress may be nil.
func (a *Applier) Flush(ctx context.Context, patterns []string, rate int, progress func(scanned, removed int64)) (Swept, error) {
	panic("skeleton")
}

// Swept is what a pass did.
type Swept struct {
	Scanned, Removed, Leases int64
	Took                     time.Duration
}

// CountMatches counts keys that match each pattern now (for check).
func (a *Applier) CountMatches(ctx context.Context, patterns []string) ([]int64, error) {
	panic("skeleton")
}
func (a *Applier) Ping(ctx context.Context) error { panic("skeleton") }
func (a *Applier) Close() error                   { panic("skeleton") }

// IsFull reports whether err is Redis refusing writes for want of memory (OOM): deletes still work.
func IsFull(err error) bool { panic("skeleton") }

// Cache is the library's entry point. SKELETON.
type Cache struct{}
