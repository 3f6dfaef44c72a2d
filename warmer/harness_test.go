package warmer_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/ratelimit"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
	"github.com/freshet-dev/freshet/internal/stream"
	"github.com/freshet-dev/freshet/warmer"
)

const (
	instance = "shop"
	// waiting is for what takes milliseconds, on machines that are slow and busy.
	waiting = 90 * time.Second
)

// world is the servers of one test, and the rules that its warmers know.
type world struct {
	t        *testing.T
	postgres *servers.Postgres
	redis    *servers.Redis
	db       *pgxpool.Pool
	rdb      *redis.Client
	stream   *stream.Stream
	rules    []rule.Config
	prefix   string
	log      *testLog
	offered  *stream.WarmPublisher
}

// testLog keeps what was logged.
type testLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *testLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *testLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// newWorld starts the servers. nats is a server of its own; nil is an embedded one.
func newWorld(t *testing.T, schema string, rules []rule.Config, nats *servers.NATS) *world {
	t.Helper()
	w := &world{t: t, rules: rules, log: &testLog{}}
	w.postgres, w.redis = servertest.Postgres(t), servertest.Redis(t)
	var err error
	if w.db, err = pgxpool.New(t.Context(), w.postgres.URL()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.db.Close)
	w.exec(schema)
	w.rdb = w.redis.Client()
	t.Cleanup(func() { _ = w.rdb.Close() })
	cfg := stream.Config{Name: instance, Logger: w.logger()}
	if nats != nil {
		cfg.URL = nats.URL()
	} else {
		cfg.Embedded = stream.EmbeddedConfig{Listen: "127.0.0.1:-1", StoreDir: t.TempDir()}
	}
	if w.stream, err = stream.Open(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.stream.Close(); err != nil {
			t.Errorf("close the stream: %v", err)
		}
	})
	if w.offered, err = w.stream.NewWarmPublisher(); err != nil {
		t.Fatal(err)
	}
	w.run("publisher", w.offered.Run)
	return w
}

// run runs something until the test ends.
func (w *world) run(what string, run func(context.Context) error) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				w.t.Errorf("%s: got %v, want nil", what, err)
			}
		case <-time.After(waiting):
			w.t.Errorf("%s did not end within %v of its context", what, waiting)
		}
	})
}

func (w *world) logger() *slog.Logger { return slog.New(slog.NewTextHandler(w.log, nil)) }

func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	if _, err := w.db.Exec(w.t.Context(), sql, args...); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

// ran is a warmer with what it works on.
type ran struct {
	*warmer.Warmer
	cache *cache.Cache
}

// warmer makes one; change may be nil.
func (w *world) warmer(url string, change func(*warmer.Config)) ran {
	w.t.Helper()
	cfg := warmer.Config{Name: instance, Logger: w.logger()}
	if change != nil {
		change(&cfg)
	}
	set, err := rule.Compile(w.rules, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := cache.Open(w.t.Context(), w.redis.URL(), cache.Config{Prefix: w.prefix, LoadTimeout: cfg.LeaseTime(), Logger: w.logger()})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	limiter, err := ratelimit.Open(w.t.Context(), w.redis.URL(), ratelimit.Config{
		Prefix: "freshet:", Failure: ratelimit.FailClosed, Timeout: time.Second, Logger: w.logger(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = limiter.Close() })
	db, err := warmer.OpenDatabase(w.t.Context(), url, cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(db.Close)
	v, err := warmer.New(cfg, w.stream, c, set, db, limiter)
	if err != nil {
		w.t.Fatal(err)
	}
	return ran{v, c}
}

// start runs a warmer until the test ends.
func (w *world) start(change func(*warmer.Config)) ran {
	w.t.Helper()
	v := w.warmer(w.postgres.URL(), change)
	w.run("warmer", v.Run)
	return v
}

// task is a task for one of the rules.
func (w *world) task(index int, key string, args ...string) stream.WarmTask {
	w.t.Helper()
	set, err := rule.Compile(w.rules, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	q, ok := set.Warm(index, 0)
	if !ok {
		w.t.Fatalf("rule %d warms nothing", index)
	}
	t := stream.WarmTask{Query: q.ID, Rule: q.Rule, Key: key}
	for i := range args {
		if args[i] == "NULL" {
			t.Args = append(t.Args, nil)
		} else {
			t.Args = append(t.Args, &args[i])
		}
	}
	return t
}

// is waits for a state of the warmer.
func (w *world) is(v ran, what string, ok func(warmer.Status) bool) {
	w.t.Helper()
	servertest.Eventually(w.t, waiting, func() (bool, string) {
		s := v.Status()
		return ok(s), fmt.Sprintf("%s: %+v", what, s)
	})
}

// value is what Redis holds; empty for nothing.
func (w *world) value(key string) string {
	w.t.Helper()
	value, err := w.rdb.Get(w.t.Context(), key).Result()
	if err != nil && err != redis.Nil { //nolint:errorlint // go-redis returns it bare
		w.t.Fatal(err)
	}
	return value
}

// rows is a rule whose query returns a row of table t.
func rows(change func(*rule.Warm)) rule.Config {
	c := rule.Config{
		Table: "t", Invalidate: []string{"t:{id}"},
		Warm: []rule.Warm{{Key: "t:{id}", SQL: "select to_jsonb(t) from t where id = {id}", TTL: time.Hour}},
	}
	if change != nil {
		change(&c.Warm[0])
	}
	return c
}
