// Package warm_test runs the example as its README does.
package warm_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

const patience = 90 * time.Second

// output is what a process writes, to look at while it runs.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// freshet runs the real thing with the example's own configuration.
func freshet(t *testing.T, postgres *servers.Postgres, cache *servers.Redis) {
	t.Helper()
	folder := t.TempDir()
	program := filepath.Join(folder, "freshet")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "github.com/freshet-dev/freshet/cmd/freshet").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	log := &output{}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program, "run", "-c", "freshet.yaml")
	cmd.Env = append(os.Environ(),
		"DATABASE_URL="+postgres.URL(), "REDIS_URL="+cache.URL(),
		"FRESHET_NATS=127.0.0.1:0", "FRESHET_HTTP=127.0.0.1:0", "FRESHET_DATA="+filepath.Join(folder, "data"))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Errorf("freshet ended: %v; its log:\n%s", err, log)
		}
	})
	servertest.Eventually(t, patience, func() (bool, string) { return strings.Contains(log.String(), "freshet runs"), log.String() })
}

func TestWarm(t *testing.T) {
	t.Parallel()
	postgres, cache := servertest.Postgres(t), servertest.Redis(t)
	db, err := pgxpool.New(t.Context(), postgres.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	rdb := cache.Client()
	t.Cleanup(func() { _ = rdb.Close() })
	exec := func(sql string) {
		t.Helper()
		if _, err := db.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	schema, err := os.ReadFile("schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	exec(string(schema))
	freshet(t, postgres, cache)

	// Until Freshet knows the stream, a change is flushed without being warmed.
	const page = `{"id": 1, "name": "Coat", "cents": 12900, "stars": 4.5}`
	servertest.Eventually(t, patience, func() (bool, string) {
		if err := rdb.Set(t.Context(), "product:1", page, time.Minute).Err(); err != nil {
			t.Fatal(err)
		}
		exec(`update products set cents = 9900 where id = 1`)
		return shows(rdb, "product:1", 9900, 4.5)
	})
	exec(`update products set cents = 2000 where id = 2`)
	exec(`insert into reviews (product_id, stars) values (1, 3)`)
	servertest.Eventually(t, patience, func() (bool, string) { return shows(rdb, "product:1", 9900, 4.0) })
	if n := rdb.Exists(t.Context(), "product:2").Val(); n != 0 {
		t.Error("a page was warmed that nobody had cached")
	}
}

// shows reports whether a page is cached with these values.
func shows(rdb *redis.Client, key string, cents int, stars float64) (bool, string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for range 50 { // it may just have been removed
		text, err := rdb.Get(ctx, key).Bytes()
		var page struct {
			Cents int
			Stars float64
		}
		if err == nil && json.Unmarshal(text, &page) == nil && page.Cents == cents && page.Stars == stars {
			return true, ""
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
	return false, fmt.Sprintf("%s is not cached with %d cents and %.1f stars", key, cents, stars)
}
