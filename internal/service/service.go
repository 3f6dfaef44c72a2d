// Package service assembles one process's roles: it connects to Postgres,
// NATS and Redis, compiles the rules against the schema, and runs consumer,
// invalidator, warmer and the HTTP server until it is told to stop. It is a package of
// its own because the command line, the demo and the end-to-end tests must run
// the very same thing.
package service

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/consumer"
	"github.com/freshet-dev/freshet/internal/monitor"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/stream"
	"github.com/freshet-dev/freshet/invalidator"
	"github.com/freshet-dev/freshet/warmer"
)

// The roles of a process.
const (
	RoleConsumer    = "consumer"
	RoleInvalidator = "invalidator"
	RoleWarmer      = "warmer"
)

// Roles lists every role, in the order of the data.
func Roles() []string { return []string{RoleConsumer, RoleInvalidator, RoleWarmer} }

// Config says what to run and where the servers are.
type Config struct {
	// Roles to run in this process. Empty means all.
	Roles []string
	// PostgresURL is the connection string of the primary. Required.
	PostgresURL string
	// Compile compiles the rules against a schema; its errors name the place in
	// the file. Required.
	Compile func(rule.Schema) (*rule.Set, error)
	// Stream says how to reach NATS.
	Stream stream.Config
	// Consumer configures the reader; its Tables are filled from the rules.
	Consumer consumer.Config
	// Invalidator configures the worker.
	Invalidator invalidator.Config
	// Warmer configures the worker that fills keys again. Its Name defaults to the
	// stream's.
	Warmer warmer.Config
	// CacheURL is the Redis to keep fresh. Required unless Memory is set.
	CacheURL string
	// Memory is a cache in this process's memory to keep fresh instead.
	Memory *cache.Cache
	// Applier configures how invalidations are applied.
	Applier cache.ApplierConfig
	// VerifyRate is how many cached values a second are compared with the
	// database while this process has the active invalidator. Zero: none.
	VerifyRate int
	// HTTP configures health and readiness.
	HTTP monitor.Config
	// ReadyLag is how far behind the process may be and still be ready.
	// Defaults to 30s.
	ReadyLag time.Duration
	// ID names this process in status and to those who ask it something.
	// Defaults to a random name.
	ID string
	// Version is the program's, for status. Defaults to 0.0.0-dev.
	Version string
	// Reload, if set, serves the control verb of that name. It returns once it is
	// known whether a new configuration is taken.
	Reload func(context.Context) error
	// Logger defaults to discarding everything.
	Logger *slog.Logger
	// OnStarted, if set, is called once everything is connected, before any
	// role runs.
	OnStarted func(Running)
}

// Running is what a started service can be asked for.
type Running struct {
	HTTP        string // where health and status answer; empty for nowhere
	NATS        string // what `nats -s` takes
	Rules       *rule.Set
	Stream      *stream.Stream
	Consumer    *consumer.Consumer       // nil when the role runs elsewhere
	Invalidator *invalidator.Invalidator // nil when the role runs elsewhere
	Warmer      *warmer.Warmer           // nil when the role runs elsewhere
}

// Run connects, runs the roles until ctx ends, and stops them in good order.
// It returns nil after a stop that was asked for. Servers that are away are
// waited for; what cannot work (wrong rules, missing rights) is an error that
// names the remedy.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.ReadyLag == 0 {
		cfg.ReadyLag = 30 * time.Second
	}
	if len(cfg.Roles) == 0 {
		cfg.Roles = Roles()
	}
	cfg.ID = cmp.Or(cfg.ID, randomID())
	cfg.Version = cmp.Or(cfg.Version, "0.0.0-dev")
	cfg.Invalidator.ID = cmp.Or(cfg.Invalidator.ID, "inv-"+cfg.ID)
	cfg.Warmer.Name = cmp.Or(cfg.Warmer.Name, cfg.Stream.Name)
	err := run(ctx, cfg)
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		return nil
	}
	return err
}

// Validate says what is wrong with a configuration's rules, given the database. It
// waits for a Postgres that is away until ctx ends.
func Validate(ctx context.Context, cfg Config) error {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	pool, err := pgxpool.New(ctx, cfg.PostgresURL)
	if err != nil {
		return fmt.Errorf("postgres.url: %w", err) // pgx leaves the password out
	}
	defer pool.Close()
	_, err = compile(ctx, cfg, pool)
	return err
}

func run(ctx context.Context, cfg Config) (err error) {
	pool, err := pgxpool.New(ctx, cfg.PostgresURL)
	if err != nil {
		return fmt.Errorf("postgres.url: %w", err) // pgx leaves the password out
	}
	defer pool.Close()
	rules, err := compile(ctx, cfg, pool)
	if err != nil {
		return err
	}

	refused := make(chan error, 1)
	cfg.Stream.OnRefused = func(err *stream.PermissionError) {
		select {
		case refused <- err:
		default: // the first one ends the service
		}
	}
	s, err := openStream(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()

	running := Running{Rules: rules, Stream: s, NATS: s.ClientURL()}
	connected := newLink(s)
	var parts []monitor.Source
	var checks *verifying
	var full *filling
	var watched atomic.Pointer[monitor.Watch] // set before anything runs
	group, ctx := errgroup.WithContext(ctx)
	var starts []func() error
	if slices.Contains(cfg.Roles, RoleConsumer) {
		cfg.Consumer.Tables = tables(rules, cfg.Invalidator.Bulk)
		c, err := consumer.New(cfg.Consumer, s)
		if err != nil {
			return err
		}
		running.Consumer = c
		parts = append(parts, &consumerPart{link: connected, consumer: c, maxWAL: cmp.Or(cfg.Consumer.MaxWAL, consumer.DefaultMaxWAL), readyLag: cfg.ReadyLag})
		starts = append(starts, func() error { return c.Run(ctx) })
	}
	if slices.Contains(cfg.Roles, RoleInvalidator) {
		applier, err := openApplier(cfg)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, applier.Close()) }()
		if cfg.HTTP.Listen != "" {
			cfg.Invalidator.OnApplied = feeding(&watched, cfg.Invalidator.OnApplied)
		}
		lookups, err := invalidator.OpenDatabase(ctx, cfg.PostgresURL)
		if err != nil {
			return err
		}
		defer lookups.Close()
		v, err := invalidator.New(cfg.Invalidator, s, applier, rules, lookups)
		if err != nil {
			return err
		}
		w, err := newVerifying(ctx, cfg, rules, s, v)
		if err != nil {
			return err
		}
		running.Invalidator, checks = v, w
		f := &filling{stream: s, invalidator: v}
		full = f
		p := &publishing{stream: s, invalidator: v, tables: tables(rules, 0)}
		parts = append(parts, &invalidatorPart{link: connected, invalidator: v, verifying: w, filling: f, publishing: p, readyLag: cfg.ReadyLag})
		starts = append(starts, func() error { return v.Run(ctx) }, func() error { return f.run(ctx) }, func() error { return p.run(ctx) })
		if w != nil {
			starts = append(starts, func() error { return w.run(ctx) })
		}
	}
	if slices.Contains(cfg.Roles, RoleWarmer) {
		w, done, err := openWarmer(ctx, cfg, s, rules)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, done()) }()
		running.Warmer = w
		parts = append(parts, &warmerPart{link: connected, warmer: w})
		starts = append(starts, func() error { return w.Run(ctx) })
	}
	beacon := &monitor.Beacon{Instance: cfg.Stream.Name, ID: cfg.ID, Version: cfg.Version, Rules: rules.Fingerprint(), Started: time.Now().UTC(), Subject: s.Subjects().Status, Logger: cfg.Logger}
	asked := &control{
		cfg: cfg, stream: s, rules: rules, invalidator: running.Invalidator,
		reports: func() []monitor.Report { return beacon.Reports(parts...) },
	}
	starts = append(starts,
		func() error { return asked.run(ctx) },
		func() error { return beacon.Run(ctx, s.Conn(), parts...) })
	watch := newWatch(cfg, s, beacon, parts)
	cfg.HTTP.Metrics = promhttp.HandlerFor(newRegistry(&metrics{
		running: running, verifying: checks, filling: full, maxWAL: cmp.Or(cfg.Consumer.MaxWAL, consumer.DefaultMaxWAL), parts: parts, watch: watch,
	}), promhttp.HandlerOpts{})
	watched.Store(watch)
	starts = append(starts, func() error { return watch.Run(ctx) })
	cfg.HTTP.Watch = watch
	cfg.HTTP.Explain = func(ctx context.Context, request []byte) (any, error) { return asked.explain(ctx, request, "") }
	server, err := monitor.Listen(ctx, cfg.HTTP, parts...)
	if err != nil {
		return err
	}
	running.HTTP = server.URL()
	if cfg.OnStarted != nil {
		cfg.OnStarted(running)
	}
	for _, start := range starts {
		group.Go(start)
	}
	group.Go(func() error { return server.Run(ctx) })
	group.Go(func() error {
		select {
		case err := <-refused: // requests would be waited for in vain, for ever
			return err
		case <-ctx.Done():
			return nil
		}
	})
	return group.Wait()
}

func randomID() string { return strings.ToLower(rand.Text()[:8]) }

// tables turns what the rules need into what the consumer publishes. bulk is
// for the tables whose rules do not say.
func tables(rules *rule.Set, bulk int64) []consumer.Table {
	if bulk == 0 {
		bulk = invalidator.DefaultBulk
	}
	needs := rules.Needs()
	out := make([]consumer.Table, 0, len(needs))
	for _, n := range needs {
		if n.Bulk == 0 {
			n.Bulk = bulk
		}
		out = append(out, consumer.Table{
			Schema: n.Table.Schema, Name: n.Table.Table,
			Columns: n.Columns, All: n.All, Ops: n.Ops, Bulk: n.Bulk,
		})
	}
	return out
}

func openApplier(cfg Config) (*cache.Applier, error) {
	if cfg.Memory != nil {
		return cfg.Memory.Applier(cfg.Applier)
	}
	return cache.OpenApplier(cfg.CacheURL, cfg.Applier)
}
