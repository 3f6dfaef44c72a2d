package service_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/consumer"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/monitor"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
	"github.com/freshet-dev/freshet/internal/service"
	"github.com/freshet-dev/freshet/internal/stream"
	"github.com/freshet-dev/freshet/invalidator"
	"github.com/freshet-dev/freshet/warmer"
)

const instance = "shop"

// patience is how long anything may take before a test gives up on it. The
// machines are slow and the race detector is on.
const patience = 90 * time.Second

// bundle is one test's servers and what it runs on them.
type bundle struct {
	t        *testing.T
	postgres *servers.Postgres
	redis    *servers.Redis
	nats     *servers.NATS // nil: embedded in the service
	storeDir string        // of the embedded server
	db       *pgxpool.Pool
	rdb      *redis.Client
	rules    []rule.Config
	confirm  consumer.Confirm
	bulk     int64
	verify   int
	readyLag time.Duration
}

type options struct {
	schema   string // SQL
	rules    []rule.Config
	settings map[string]string // of Postgres
	nats     bool              // a NATS server in a process of its own
	confirm  consumer.Confirm
	bulk     int64 // rows of one transaction; 0: the default

	verifyRate int           // values a second; 0: none
	readyLag   time.Duration // 0: the default
}

func newBundle(t *testing.T, o options) *bundle {
	t.Helper()
	b := &bundle{t: t, rules: o.rules, confirm: o.confirm, bulk: o.bulk, verify: o.verifyRate, readyLag: o.readyLag, storeDir: t.TempDir()}
	b.postgres = servertest.Postgres(t, servers.PostgresOptions{Settings: o.settings})
	b.redis = servertest.Redis(t, servers.RedisOptions{AppendOnly: true})
	if o.nats {
		b.nats = servertest.NATS(t)
	}
	var err error
	if b.db, err = pgxpool.New(t.Context(), b.postgres.URL()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.db.Close)
	b.rdb = b.redis.Client()
	t.Cleanup(func() { _ = b.rdb.Close() })
	b.exec(o.schema)
	return b
}

// running is one service in this process.
type running struct {
	service.Running
	t      *testing.T
	cancel context.CancelFunc
	ended  chan error
}

// start runs roles of the service (all without any) and returns when they are
// connected. The service is stopped at the end of the test if it still runs.
func (b *bundle) start(roles ...string) *running {
	b.t.Helper()
	r, err := b.tryStart(roles...)
	if err != nil {
		b.t.Fatalf("start the service: %v", err)
	}
	return r
}

func (b *bundle) tryStart(roles ...string) (*running, error) {
	b.t.Helper()
	logger := slog.New(slog.NewTextHandler(b.t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
	started := make(chan service.Running, 1)
	cfg := service.Config{
		Roles:       roles,
		PostgresURL: b.postgres.URL(),
		Compile:     func(s rule.Schema) (*rule.Set, error) { return rule.Compile(b.rules, s) },
		Stream: stream.Config{
			Name: instance, Logger: logger,
			Embedded: stream.EmbeddedConfig{Listen: "127.0.0.1:-1", StoreDir: b.storeDir},
		},
		Consumer:    consumer.Config{Name: instance, URL: b.postgres.URL(), Manage: true, Confirm: b.confirm, Logger: logger},
		Invalidator: invalidator.Config{Name: instance, Bulk: b.bulk, Logger: logger},
		Warmer:      warmer.Config{Logger: logger},
		Applier:     cache.ApplierConfig{Name: instance, Logger: logger},
		CacheURL:    b.redis.URL(),
		VerifyRate:  b.verify,
		ReadyLag:    b.readyLag,
		HTTP:        monitor.Config{Listen: "127.0.0.1:0", Logger: logger},
		Logger:      logger,
		OnStarted:   func(r service.Running) { started <- r },
	}
	if b.nats != nil {
		cfg.Stream.URL = b.nats.URL()
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: b.t, cancel: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- service.Run(ctx, cfg) }()
	select {
	case r.Running = <-started:
	case err := <-r.ended:
		cancel()
		return nil, err
	}
	b.t.Cleanup(func() {
		if r.cancel != nil {
			r.stop()
		}
	})
	return r, nil
}

// stop ends the service gracefully. That it takes less than ten seconds is
// tested on the command.
func (r *running) stop() {
	r.t.Helper()
	r.cancel()
	r.cancel = nil
	select {
	case err := <-r.ended:
		if err != nil {
			r.t.Errorf("the service stopped with %v, want nil", err)
		}
	case <-time.After(patience):
		r.t.Errorf("the service did not stop within %s", patience)
	}
}

// exec runs statements, one transaction each unless they say otherwise.
func (b *bundle) exec(sql string, args ...any) {
	b.t.Helper()
	if sql == "" {
		return
	}
	if _, err := b.db.Exec(b.t.Context(), sql, args...); err != nil {
		b.t.Fatalf("%s: %v", sql, err)
	}
}

// walEnd is past every commit that has returned.
func (b *bundle) walEnd() cdc.LSN {
	b.t.Helper()
	var text string
	if err := b.db.QueryRow(b.t.Context(), `select pg_current_wal_flush_lsn()::text`).Scan(&text); err != nil {
		b.t.Fatal(err)
	}
	lsn, err := cdc.ParseLSN(text)
	if err != nil {
		b.t.Fatal(err)
	}
	return lsn
}

// settle waits until r has applied everything that is committed now.
func (b *bundle) settle(r *running) {
	b.t.Helper()
	end := b.walEnd()
	servertest.Eventually(b.t, patience, func() (bool, string) {
		s := r.Invalidator.Status()
		state := fmt.Sprintf("want %s; invalidator %s at %s %s", end, s.State, s.Position.LSN, s.Reason)
		if r.Consumer != nil {
			c := r.Consumer.Status()
			state += fmt.Sprintf("; consumer %s, published %s %s", c.State, c.Published, c.LastError)
		}
		return s.Position.LSN >= end && s.PendingPatterns == 0 && s.Position.Hold == 0, state
	})
}

// plant stores a value under each key, as an application would.
func (b *bundle) plant(keys ...string) {
	b.t.Helper()
	for _, key := range keys {
		if err := b.rdb.Set(b.t.Context(), key, `"planted"`, 0).Err(); err != nil {
			b.t.Fatalf("plant %s: %v", key, err)
		}
	}
}

// present lists which of the keys are in Redis.
func (b *bundle) present(keys ...string) []string {
	b.t.Helper()
	var found []string
	for _, key := range keys {
		n, err := b.rdb.Exists(b.t.Context(), key).Result()
		if err != nil {
			b.t.Fatalf("look for %s: %v", key, err)
		}
		if n == 1 {
			found = append(found, key)
		}
	}
	return found
}

// expect settles and checks that the keys in gone are gone and those in kept
// are still there.
func (b *bundle) expect(r *running, gone, kept []string) {
	b.t.Helper()
	b.settle(r)
	if left := b.present(gone...); len(left) > 0 {
		b.t.Errorf("still cached after the change was applied: %s", shorten(left))
	}
	if left := b.present(kept...); len(left) != len(kept) {
		b.t.Errorf("removed without a reason: only %s are left of %s", shorten(left), shorten(kept))
	}
}

func shorten(keys []string) string {
	short := make([]string, len(keys))
	for i, key := range keys {
		short[i] = fmt.Sprintf("%.60q", key)
	}
	return "[" + strings.Join(short, " ") + "]"
}
