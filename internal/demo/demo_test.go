package demo

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache"
)

// run runs a short demo and checks that it leaves no file behind.
func run(t *testing.T, o Options) (Summary, string, error) {
	t.Helper()
	folder := t.TempDir()
	// Postgres runs as another user when we are root, and must get in.
	if err := errors.Join(os.Chmod(filepath.Dir(folder), 0o755), os.Chmod(folder, 0o755)); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	o.For, o.Out, o.folder = 2*time.Second, &out, folder
	summary, err := Run(t.Context(), o)
	left, globErr := filepath.Glob(filepath.Join(folder, "*"))
	if globErr != nil {
		t.Fatal(globErr)
	}
	if len(left) > 0 {
		t.Errorf("the demo left %v behind", left)
	}
	return summary, out.String(), err
}

func TestDemoFindsNothingStale(t *testing.T) {
	t.Parallel()
	summary, out, err := run(t, Options{})
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if summary.Changes == 0 || summary.Removed == 0 || summary.Compared == 0 || summary.Stale != 0 || summary.Store != "redis" {
		t.Errorf("got %+v, want changes, removals and comparisons, and nothing stale", summary)
	}
	if summary.Warmed == 0 || !strings.Contains(out, "warmed keys") {
		t.Errorf("got %d warmed keys, want some, and said so:\n%s", summary.Warmed, out)
	}
	if summary.Tokens == 0 || summary.Waited == 0 || summary.OwnCached == 0 || summary.OwnMissed != 0 || !strings.Contains(out, "own writes") {
		t.Errorf("got %+v, want own writes that were read back", summary)
	}
	if !strings.Contains(out, "stale: 0") || !strings.Contains(out, "commit to removal") {
		t.Errorf("the summary is not in the output:\n%s", out)
	}
}

// The comparison at the end can fail: values that were planted are found.
func TestDemoFindsWhatWasPlanted(t *testing.T) {
	t.Parallel()
	summary, out, err := run(t, Options{beforeAudit: func(ctx context.Context, s *shop) error {
		return errors.Join(
			cache.Set(ctx, s.cache, "order:1", map[string]int{"id": 1}, time.Hour),
			cache.Set(ctx, s.cache, "order:999999", "a row that there is not", time.Hour),
		)
	}})
	if !errors.Is(err, ErrStale) || summary.Stale != 2 {
		t.Errorf("got %d stale and %v, want 2 and ErrStale", summary.Stale, err)
	}
	if !strings.Contains(out, "order:999999") {
		t.Errorf("the output does not name the stale key:\n%s", out)
	}
}

// Without a redis-server the cache is in memory, and the demo says so.
func TestDemoWithoutRedis(t *testing.T) {
	t.Setenv("FRESHET_REDIS_BIN", filepath.Join(t.TempDir(), "no-redis-server"))
	summary, out, err := run(t, Options{})
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if summary.Store != "memory" || !strings.Contains(out, "memory://") {
		t.Errorf("got store %q and output\n%s\nwant memory, said aloud", summary.Store, out)
	}
}

func TestSameJSON(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, a, b string
		want       bool
	}{
		{"spelling", `{"a":1,"b":[2]}`, `{ "b" : [2], "a" : 1 }`, true},
		{"value", `{"a":1}`, `{"a":2}`, false},
		{"numbers beyond a float's digits", `9007199254740993`, `9007199254740992`, false},
		{"nothing", `{"a":1}`, ``, false},
	} {
		if got := sameJSON([]byte(c.a), []byte(c.b)); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestViewOf(t *testing.T) {
	t.Parallel()
	for _, v := range views {
		key := v.key("17")
		got, id, ok := viewOf(key)
		if !ok || got.prefix != v.prefix || got.suffix != v.suffix || id != "17" {
			t.Errorf("viewOf(%q): got %q %q %q %v", key, got.prefix, got.suffix, id, ok)
		}
	}
	if _, _, ok := viewOf("basket:1"); ok {
		t.Error("a key that no view makes was taken for one")
	}
}
