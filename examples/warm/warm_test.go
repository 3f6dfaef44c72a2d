// Package warm_test runs the example as its README does.
package warm_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

const patience = 90 * time.Second

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
	servertest.Freshet(t, "freshet.yaml",
		"DATABASE_URL="+postgres.URL(), "REDIS_URL="+cache.URL(),
		"FRESHET_NATS=127.0.0.1:0", "FRESHET_HTTP=127.0.0.1:0", "FRESHET_DATA="+filepath.Join(t.TempDir(), "data"))

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
