package cache

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// ApplierConfig configures an Applier. Only Name is required.
type ApplierConfig struct {
	// Name is the instance's name; it ends the names of the bookkeeping keys.
	Name string
	// Prefix is put before every key, pattern and tag, as in Config.Prefix.
	// Defaults to none.
	Prefix string
	// ScanShare is the share of Redis' time that scans for patterns may take,
	// above 0 and at most 1. Defaults to 0.2.
	ScanShare float64
	// Pipeline is how many commands one pipeline holds at most. Defaults to
	// 1000.
	Pipeline int
	// Logger receives what is unusual. Defaults to slog.Default().
	Logger *slog.Logger

	hooks sweepHooks
}

// sweepHooks let tests act at a chosen moment and build the sweeps that must be
// caught.
type sweepHooks struct {
	betweenPasses func()
	onePass       bool  // leave out the pass over leases
	valuesFirst   bool  // make the passes in the wrong order
	count         int64 // of SCAN; 0: as always
}

func (c *ApplierConfig) setDefaults() error {
	if c.Name == "" {
		return fmt.Errorf("cache: applier: a name is required")
	}
	if c.ScanShare == 0 {
		c.ScanShare = 0.2
	}
	if c.ScanShare < 0 || c.ScanShare > 1 {
		return fmt.Errorf("cache: applier: scan share %v is not above 0 and at most 1", c.ScanShare)
	}
	if c.Pipeline <= 0 {
		c.Pipeline = 1000
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return nil
}

// Applier applies invalidations to Redis (one server, Sentinel, Cluster) or to
// a store in memory, and keeps the position on the masters where its effects
// are. Freshet's invalidator uses it; services use Cache.
//
// The order is Load, TakeOver, then any number of Apply, Sweep and Move. On
// ErrRolledBack begin again with Load and go on from the position it finds; on
// ErrForeignOwner step down. Calls may overlap, so that keys are applied while
// a sweep goes on, but Load and TakeOver must be alone.
type Applier struct {
	cfg  ApplierConfig
	impl applierImpl
	once sync.Once
	done error
}

// applierImpl is an Applier for one kind of store. Keys, patterns and tags are
// prefixed by the time they get here.
type applierImpl interface {
	load(ctx context.Context) (Loaded, error)
	takeOver(ctx context.Context, p Position) error
	apply(ctx context.Context, b Batch) (Applied, error)
	move(ctx context.Context, p Position) error
	forgetAhead(ctx context.Context) error
	flush(ctx context.Context, patterns []string, rate int, progress func(scanned, removed int64)) (Swept, error)
	countMatches(ctx context.Context, patterns []string) ([]int64, error)
	ping(ctx context.Context) error
	close() error
}

// NewApplier returns an applier over rdb, a *redis.Client (of one server or of
// Sentinel) or a *redis.ClusterClient. A *redis.Client must have MaxRetries -1:
// a command that is repeated on another connection behind the applier's back
// would leave its pipeline. Close leaves rdb open.
func NewApplier(rdb redis.UniversalClient, cfg ApplierConfig) (*Applier, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	if client, ok := rdb.(*redis.Client); ok && client.Options().MaxRetries > 0 {
		return nil, fmt.Errorf("cache: applier: the client repeats commands by itself; set MaxRetries to -1")
	}
	return newApplier(rdb, cfg, nil)
}

// newApplier returns an applier over rdb that closes owned with it.
func newApplier(rdb redis.UniversalClient, cfg ApplierConfig, owned redis.UniversalClient) (*Applier, error) {
	nodes, err := newNodes(rdb)
	if err != nil {
		return nil, err
	}
	impl := newRedisApplier(nodes, cfg)
	impl.owned = owned
	return &Applier{cfg: cfg, impl: impl}, nil
}

// OpenApplier opens a URL as Open does, with connections that never repeat a
// command by themselves. It does not connect. With memory:// it applies to a
// store of its own that nobody else can see; Cache.Applier shares one.
func OpenApplier(url string, cfg ApplierConfig) (*Applier, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	if isMemory(url) {
		return &Applier{cfg: cfg, impl: newMemoryApplier(newMemoryStore(0), cfg)}, nil
	}
	rdb, err := dial(url, limits{dial: 2 * time.Second, io: 3 * time.Second, retries: -1})
	if err != nil {
		return nil, err
	}
	return newApplier(rdb, cfg, rdb)
}

// Loaded is what Load found.
type Loaded struct {
	// Verdict says what must be done before going on.
	Verdict Verdict
	// Position is the lowest of the masters' positions. It is set for
	// VerdictContinue, and for VerdictLost where some master still had one.
	Position Position
	// Masters is how many masters there are.
	Masters int
	// Detail says for people which master lacks what.
	Detail string
}

// Verdict is what the masters' positions mean.
type Verdict uint8

// The verdicts.
const (
	// VerdictContinue means that positions were found: go on from the lowest.
	VerdictContinue Verdict = iota
	// VerdictEmpty means that no master holds any key: write a position;
	// nothing needs to be flushed. The position must be one that was read
	// from the stream before Load was called, as values filled since then
	// depend on every change since then.
	VerdictEmpty
	// VerdictLost means that keys are there without a position that vouches
	// for them: take over with a position that was read before Load, and flush
	// all coverage.
	VerdictLost
)

// String returns the verdict's name.
func (v Verdict) String() string {
	switch v {
	case VerdictContinue:
		return "continue"
	case VerdictEmpty:
		return "empty"
	case VerdictLost:
		return "lost"
	default:
		return fmt.Sprintf("Verdict(%d)", uint8(v))
	}
}

// Load finds the masters and reads their positions and counters. It changes
// nothing.
func (a *Applier) Load(ctx context.Context) (Loaded, error) {
	loaded, err := a.impl.load(ctx)
	if err != nil {
		return Loaded{}, fmt.Errorf("load position: %w", err)
	}
	return loaded, nil
}

// TakeOver writes p, whose Owner takes over, to every master and starts their
// counters anew. It must follow a Load and precede Apply and Move. A former
// owner's deletes stay harmless; its next Apply or Move fails with
// ErrForeignOwner. TakeOver itself fails with ErrRolledBack when a master has
// forgotten something since Load. On other errors call it again.
func (a *Applier) TakeOver(ctx context.Context, p Position) error {
	if p.Owner == "" {
		return fmt.Errorf("take over position: it names no owner")
	}
	if err := a.impl.takeOver(ctx, p); err != nil {
		return fmt.Errorf("take over position: %w", err)
	}
	return nil
}

// Batch is what one Apply removes.
type Batch struct {
	Keys    []string // without the prefix
	Tags    []string // without the prefix
	AllTags bool     // every tag of the cache at once
	Ahead   LSN      // highest commit LSN in the batch; zero for an invalidation by hand
	Epoch   string   // its epoch

	// WantExisted asks for Applied.Existed, which costs a command and a reply
	// for each key.
	WantExisted bool
}

// Applied is what an Apply did.
type Applied struct {
	// Existed holds the keys whose values were there, if WantExisted asked.
	Existed map[string]struct{}
	// Removed is how many values were there and are gone.
	Removed int
	// Commands is how many commands were sent.
	Commands int
}

// Apply invalidates what the batch names. On every master it raises how far
// ahead deletes have gone, removes the keys' leases, then their values, and the
// tags' generations, and last advances the master's counter. Every reply is
// checked. On any error but ErrForeignOwner and ErrRolledBack call it again
// with the same batch until it succeeds: all of it is then repeated.
//
// A Redis that refuses writes for want of memory still deletes, and Apply
// succeeds. Move then fails with an error for which IsFull is true, and once
// there is memory again Apply or Move fails with ErrRolledBack, as nothing
// vouches for the deletes made in between.
func (a *Applier) Apply(ctx context.Context, b Batch) (Applied, error) {
	b.Keys, b.Tags = prefixed(a.cfg.Prefix, b.Keys), prefixed(a.cfg.Prefix, b.Tags)
	applied, err := a.impl.apply(ctx, b)
	if a.cfg.Prefix != "" && applied.Existed != nil {
		existed := make(map[string]struct{}, len(applied.Existed))
		for key := range applied.Existed {
			existed[key[len(a.cfg.Prefix):]] = struct{}{}
		}
		applied.Existed = existed
	}
	if err != nil {
		return applied, fmt.Errorf("apply %d keys: %w", len(b.Keys), err)
	}
	return applied, nil
}

// Move moves the position on every master from the last one moved to, or taken
// over, to p, if counter, owner and old position are what they were left at.
// Call it when all that p vouches for has been applied without error.
func (a *Applier) Move(ctx context.Context, p Position) error {
	if err := a.impl.move(ctx, p); err != nil {
		return fmt.Errorf("move position to %s: %w", p.LSN, err)
	}
	return nil
}

// ForgetAhead removes, on every master, how far ahead deletes have gone: until the
// next batch says it again, nothing vouches for what is read beside deletes. It takes
// no memory, for a Redis that has none to move the position with.
func (a *Applier) ForgetAhead(ctx context.Context) error {
	if err := a.impl.forgetAhead(ctx); err != nil {
		return fmt.Errorf("forget how far ahead deletes have gone: %w", err)
	}
	return nil
}

// Swept is what a sweep did.
type Swept struct {
	Scanned int64         // names that Redis listed, over both passes
	Removed int64         // values removed
	Leases  int64         // leases removed
	Took    time.Duration // from the beginning of the first pass to the end of the last
}

// Sweep invalidates every key that matches one of the patterns (Redis globs):
// a first pass over all masters removes the leases, a second the values, and
// all patterns share the passes. A fill that began before Sweep was called never
// survives it. Keys that begin with "freshet:" are never matched.
func (a *Applier) Sweep(ctx context.Context, patterns []string) (Swept, error) {
	return a.Flush(ctx, patterns, 0, nil)
}

// Flush is Sweep, slowed down to remove at most rate values a second (0: as
// fast as ScanShare permits). progress, if not nil, is called now and then by
// one goroutine at a time.
func (a *Applier) Flush(ctx context.Context, patterns []string, rate int, progress func(scanned, removed int64)) (Swept, error) {
	if len(patterns) == 0 {
		return Swept{}, nil
	}
	swept, err := a.impl.flush(ctx, prefixed(EscapePattern(a.cfg.Prefix), patterns), rate, progress)
	if err != nil {
		return swept, fmt.Errorf("sweep %d patterns: %w", len(patterns), err)
	}
	return swept, nil
}

// CountMatches counts the keys that match each pattern now.
func (a *Applier) CountMatches(ctx context.Context, patterns []string) ([]int64, error) {
	counts, err := a.impl.countMatches(ctx, prefixed(EscapePattern(a.cfg.Prefix), patterns))
	if err != nil {
		return nil, fmt.Errorf("count matches: %w", err)
	}
	return counts, nil
}

// Ping asks every master for a sign of life.
func (a *Applier) Ping(ctx context.Context) error {
	if err := a.impl.ping(ctx); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	return nil
}

// Close closes what OpenApplier opened. No other call may be under way.
func (a *Applier) Close() error {
	a.once.Do(func() { a.done = a.impl.close() })
	return a.done
}

// prefixed puts prefix before every name, in a new slice unless it is empty.
func prefixed(prefix string, names []string) []string {
	if prefix == "" {
		return names
	}
	all := make([]string, len(names))
	for i, name := range names {
		all[i] = prefix + name
	}
	return all
}
