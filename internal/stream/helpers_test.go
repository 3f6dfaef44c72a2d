package stream

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// The tests are in the package itself because they craft raw messages with its
// headers and switch its check off.

var epochA = cdc.Epoch{System: 7301, Timeline: 1}

func testConfig(t testing.TB) Config {
	return Config{
		Name:     "shop",
		Embedded: EmbeddedConfig{Listen: "127.0.0.1:-1", StoreDir: t.TempDir()},
		Logger:   slog.New(slog.DiscardHandler),
	}
}

func open(t testing.TB, cfg Config) *Stream {
	t.Helper()
	s, err := Open(testContext(t), cfg)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// openNarrow opens a stream whose readers take in little before they are
// asked, so that a few hundred messages are more than they have seen.
func openNarrow(t testing.TB) *Stream {
	t.Helper()
	s := open(t, testConfig(t))
	s.readAhead = 32
	return s
}

// patience is how long anything may take before a test gives up on it. The
// machines are slow and busy, and the race detector is on.
const patience = 90 * time.Second

// testContext ends before the test binary's own time limit speaks.
func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	t.Cleanup(cancel)
	return ctx
}

func begin(t testing.TB, s *Stream, start cdc.Start) *Session {
	t.Helper()
	x, err := s.NewSession(testContext(t), start)
	if err != nil {
		t.Fatalf("new session: %v", err)
	}
	t.Cleanup(func() { _ = x.Close(testContext(t)) })
	return x
}

func reader(t testing.TB, s *Stream, from Point) *Reader {
	t.Helper()
	r, err := s.NewReader(testContext(t), from)
	if err != nil {
		t.Fatalf("new reader: %v", err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// fetch returns the next n items.
func fetch(t testing.TB, r *Reader, n int) []Item {
	t.Helper()
	ctx := testContext(t)
	var items []Item
	for deadline := time.Now().Add(patience); len(items) < n; {
		got, err := r.Fetch(ctx, n-len(items), 100*time.Millisecond)
		if err != nil {
			t.Fatalf("fetch: %v", err)
		}
		items = append(items, got...)
		if time.Now().After(deadline) {
			b, broken := r.Broken()
			t.Fatalf("got %d items, want %d; broken %v %+v", len(items), n, broken, b)
		}
	}
	return items
}
