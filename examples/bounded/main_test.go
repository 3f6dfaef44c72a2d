package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// last keeps the line that was printed last.
type last struct {
	mu   sync.Mutex
	line string // guarded by mu
}

func (l *last) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.line = strings.TrimSpace(string(p))
	return len(p), nil
}

func (l *last) is(want string) (bool, string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.line == want, "got " + l.line
}

func TestExample(t *testing.T) {
	t.Parallel()
	postgres, redis := servertest.Postgres(t), servertest.Redis(t)
	schema, err := os.ReadFile("schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	db, err := pgxpool.New(t.Context(), postgres.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if _, err := db.Exec(t.Context(), string(schema)); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(t.TempDir(), "data")
	start := func() (stop func()) {
		return servertest.Freshet(t, "freshet.yaml",
			"DATABASE_URL="+postgres.URL(), "REDIS_URL="+redis.URL(),
			"FRESHET_NATS=127.0.0.1:0", "FRESHET_HTTP=127.0.0.1:0", "FRESHET_DATA="+data)
	}
	stop := start()
	var out last
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, postgres.URL(), redis.URL(), 20*time.Millisecond, &out) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	await := func(want string) {
		t.Helper()
		servertest.Eventually(t, 90*time.Second, func() (bool, string) { return out.is(want) })
	}
	const served = "from the cache; refused to those who take nothing else: false"
	await(served)
	stop()
	await("from the database; refused to those who take nothing else: true")
	start()
	await(served)
}
