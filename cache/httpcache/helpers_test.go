package httpcache_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/httpcache"
	"github.com/freshet-dev/freshet/internal/servers"
)

var shared struct {
	redis func() (*servers.Redis, error)
	close func() error
}

func TestMain(m *testing.M) {
	shared.redis = sync.OnceValues(func() (*servers.Redis, error) {
		s, err := servers.StartRedis(context.Background(), servers.RedisOptions{})
		if err == nil {
			shared.close = s.Close
		}
		return s, err
	})
	code := m.Run()
	if shared.close != nil {
		if err := shared.close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// patience bounds every wait of the tests.
const patience = 30 * time.Second

func openMemory(t testing.TB) *cache.Cache {
	t.Helper()
	c, err := cache.Open(t.Context(), "memory://", cache.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// openRedis returns caches as so many processes would have them on one Redis.
func openRedis(t testing.TB, processes int) []*cache.Cache {
	t.Helper()
	server, err := shared.redis()
	if err != nil {
		t.Fatal(err)
	}
	prefix := rand.Text() + ":"
	all := make([]*cache.Cache, processes)
	for i := range all {
		if all[i], err = cache.Open(t.Context(), server.URL(), cache.Config{Prefix: prefix}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { all[i].Close() })
	}
	return all
}

// stores opens a cache of its own over memory or over Redis.
func stores() map[string]func(testing.TB) *cache.Cache {
	return map[string]func(testing.TB) *cache.Cache{
		"memory": openMemory,
		"redis":  func(t testing.TB) *cache.Cache { t.Helper(); return openRedis(t, 1)[0] },
	}
}

// origin is a handler that counts its calls.
type origin struct {
	calls atomic.Int64
	serve http.HandlerFunc
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.calls.Add(1)
	o.serve(w, r)
}

func says(text string) *origin {
	return &origin{serve: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }}
}

// header makes a header of lines like "Accept: text/html".
func header(lines ...string) http.Header {
	h := http.Header{}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, value)
	}
	return h
}

// ask sends a request to a handler.
func ask(t testing.TB, h http.Handler, method, target string, lines ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, http.NoBody)
	for name, values := range header(lines...) {
		r.Header[name] = values
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func get(t testing.TB, h http.Handler, target string, lines ...string) *http.Response {
	t.Helper()
	return ask(t, h, http.MethodGet, target, lines...)
}

func body(t testing.TB, r *http.Response) string {
	t.Helper()
	defer r.Body.Close()
	all, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(all)
}

// want checks what X-Cache says.
func want(t testing.TB, r *http.Response, state string) {
	t.Helper()
	if got := r.Header.Get("X-Cache"); got != state {
		t.Errorf("X-Cache: got %q (%s), want %q", got, r.Header.Get("Cache-Status"), state)
	}
}

// until waits for something.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
		<-tick.C
	}
}

// wait waits for a channel to be closed, or to give something.
func wait[T any](t testing.TB, what string, c <-chan T) (got T) {
	t.Helper()
	select {
	case got = <-c:
	case <-time.After(patience):
		t.Fatalf("%s: not within %v", what, patience)
	}
	return got
}

func plain(cfg httpcache.Config) httpcache.Config {
	cfg.PlainKey = true
	return cfg
}
