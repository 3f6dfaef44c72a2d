package verify_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/consumer"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
	"github.com/freshet-dev/freshet/internal/service"
	"github.com/freshet-dev/freshet/internal/stream"
	"github.com/freshet-dev/freshet/internal/verify"
	"github.com/freshet-dev/freshet/invalidator"
)

const patience = 90 * time.Second

// world is a database, a Redis and, once started, a service that keeps it fresh.
type world struct {
	t     *testing.T
	url   string // of the cache
	pgURL string
	db    *pgxpool.Pool
	rdb   redis.UniversalClient
	cache *cache.Cache
	rules []rule.Config
	set   *rule.Set
	stop  func()
}

type redisServer interface{ URL() string }

func newWorld(t *testing.T, schema string, rdb redis.UniversalClient, server redisServer, rules ...rule.Config) *world {
	t.Helper()
	pg := servertest.Postgres(t)
	w := &world{t: t, url: server.URL(), pgURL: pg.URL(), rdb: rdb, rules: rules}
	t.Cleanup(func() { _ = rdb.Close() })
	var err error
	if w.db, err = pgxpool.New(t.Context(), pg.URL()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.db.Close)
	w.exec(schema)
	if w.cache, err = cache.Open(t.Context(), w.url, cache.Config{Source: "shop"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.cache.Close() })
	w.run()
	return w
}

// onRedis is a world with a single Redis.
func onRedis(t *testing.T, schema string, rules ...rule.Config) *world {
	t.Helper()
	server := servertest.Redis(t)
	return newWorld(t, schema, server.Client(), server, rules...)
}

func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	if _, err := w.db.Exec(w.t.Context(), sql, args...); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

// run starts the service and waits until the position is sound.
func (w *world) run() {
	w.t.Helper()
	logger := slog.New(slog.NewTextHandler(w.t.Output(), nil))
	started := make(chan service.Running, 1)
	cfg := service.Config{
		Roles:       []string{service.RoleConsumer, service.RoleInvalidator},
		PostgresURL: w.pgURL,
		Compile: func(s rule.Schema) (*rule.Set, error) {
			set, err := rule.Compile(w.rules, s)
			w.set = set
			return set, err
		},
		Stream:      stream.Config{Name: "shop", Logger: logger, Embedded: stream.EmbeddedConfig{Listen: "127.0.0.1:-1", StoreDir: w.t.TempDir()}},
		Consumer:    consumer.Config{Name: "shop", URL: w.pgURL, Manage: true, Logger: logger},
		Invalidator: invalidator.Config{Name: "shop", Logger: logger},
		Applier:     cache.ApplierConfig{Name: "shop", Logger: logger},
		CacheURL:    w.url,
		Logger:      logger,
		OnStarted:   func(r service.Running) { started <- r },
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx, cfg) }()
	w.stop = func() {
		w.stop = func() {}
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("the service stopped with %v", err)
		}
	}
	w.t.Cleanup(func() { w.stop() })
	select {
	case <-started:
	case err := <-ended:
		ended <- err
		w.t.Fatalf("start the service: %v", err)
	}
	w.settle()
}

// settle waits until what is committed now has been applied.
func (w *world) settle() {
	w.t.Helper()
	token, err := cache.TokenFrom(w.t.Context(), w.db)
	if err != nil {
		w.t.Fatal(err)
	}
	servertest.Eventually(w.t, patience, func() (bool, string) {
		_, err := cache.Get[int](w.t.Context(), w.cache, "nothing", cache.AtLeast(token), cache.OrStaleError())
		return errors.Is(err, cache.ErrMiss), fmt.Sprint(err)
	})
}

// plant stores a value as a client would that knows nothing of leases.
func (w *world) plant(key, value string, ttl time.Duration) {
	w.t.Helper()
	if err := w.rdb.Set(w.t.Context(), key, value, ttl).Err(); err != nil {
		w.t.Fatal(err)
	}
}

// load reads a key through the cache, and fills it from the query.
func (w *world) load(ctx context.Context, key, sql string, args ...any) error {
	_, err := cache.GetOrSet(ctx, w.cache, key, time.Hour, func(ctx context.Context) (json.RawMessage, error) {
		var value []byte
		err := w.db.QueryRow(ctx, sql, args...).Scan(&value)
		return value, err
	})
	return err
}

// verify looks at the cache once.
func (w *world) verify(cfg verify.Config) *verify.Report {
	w.t.Helper()
	db, err := verify.Open(w.t.Context(), w.pgURL, 10*time.Second)
	if err != nil {
		w.t.Fatal(err)
	}
	defer db.Close()
	if cfg.Rate == 0 {
		cfg.Rate = 1e6
	}
	if cfg.Patience == 0 {
		cfg.Patience = patience
	}
	v, err := verify.New(cfg, w.cache, db, w.set)
	if err != nil {
		w.t.Fatal(err)
	}
	report, err := v.Run(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	if s := v.Status(); int(s.Checked) != report.Checked || int(s.Mismatches) != len(report.Mismatches) {
		w.t.Errorf("the status says %+v, the report %+v", s, report)
	}
	return report
}
