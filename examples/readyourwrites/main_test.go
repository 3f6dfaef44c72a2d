package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

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
	servertest.Freshet(t, "freshet.yaml",
		"DATABASE_URL="+postgres.URL(), "REDIS_URL="+redis.URL(),
		"FRESHET_NATS=127.0.0.1:0", "FRESHET_HTTP=127.0.0.1:0", "FRESHET_DATA="+filepath.Join(t.TempDir(), "data"))
	for range 20 {
		var out strings.Builder
		if err := run(t.Context(), postgres.URL(), redis.URL(), &out); err != nil {
			t.Fatal(err)
		}
		// At once it may be either: Freshet is fast.
		if got := out.String(); strings.Contains(got, "seen: false") || !strings.Contains(got, "a moment later: own write seen: true, from the cache") {
			t.Errorf("got %q", got)
		}
	}
}
