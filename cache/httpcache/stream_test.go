package httpcache_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/httpcache"
)

// TestStreaming: the client that the handler was called for reads what is written
// while the handler still runs, and the whole is stored.
func TestStreaming(t *testing.T) {
	t.Parallel()
	for store, open := range stores() {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			c := open(t)

			goOn := make(chan struct{})
			o := &origin{serve: func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprintln(w, "first")
				if err := http.NewResponseController(w).Flush(); err != nil {
					t.Error(err)
				}
				<-goOn
				fmt.Fprintln(w, "second")
			}}
			s := httptest.NewServer(httpcache.Middleware(c, httpcache.Config{})(o))
			defer s.Close()
			r, err := fetchHead(t, s.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Body.Close()
			lines := make(chan string, 2)
			go func() {
				for scan := bufio.NewScanner(r.Body); scan.Scan(); {
					lines <- scan.Text()
				}
			}()
			if got := wait(t, "the first line", lines); got != "first" {
				t.Errorf("got %q", got)
			}
			close(goOn)
			if got := wait(t, "the second line", lines); got != "second" {
				t.Errorf("got %q", got)
			}
			again, err := fetchHead(t, s.URL)
			if err != nil {
				t.Fatal(err)
			}
			want(t, again, "HIT")
			if got := body(t, again); got != "first\nsecond\n" {
				t.Errorf("stored: got %q", got)
			}
		})
	}
}

func fetchHead(t *testing.T, url string) (*http.Response, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	return http.DefaultClient.Do(r)
}

// TestEndlessStream: who comes while an event stream runs has one of its own.
func TestEndlessStream(t *testing.T) {
	t.Parallel()
	end := make(chan struct{})
	o := &origin{serve: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: 1\n\n")
		w.(http.Flusher).Flush()
		<-end
	}}
	s := httptest.NewServer(httpcache.Middleware(openMemory(t), httpcache.Config{})(o))
	defer s.Close()
	defer close(end)
	for range 3 {
		r, err := fetchHead(t, s.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		line := make([]byte, 7)
		if _, err := io.ReadFull(r.Body, line); err != nil || string(line) != "data: 1" {
			t.Errorf("got %q, %v", line, err)
		}
	}
}

func TestLargeBody(t *testing.T) {
	t.Parallel()
	for store, open := range stores() {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			c := open(t)

			const limit = 100 << 10
			part := strings.Repeat("0123456789", 1000)
			for _, parts := range []int{10, 11} {
				o := &origin{serve: func(w http.ResponseWriter, _ *http.Request) {
					for range parts {
						fmt.Fprint(w, part)
					}
				}}
				h := httpcache.Middleware(c, httpcache.Config{MaxBody: limit})(o)
				target := fmt.Sprint("/", parts)
				for i := range 2 {
					r := get(t, h, target)
					if got := body(t, r); got != strings.Repeat(part, parts) {
						t.Errorf("%d parts: got %d bytes", parts, len(got))
					}
					stored := len(part)*parts <= limit
					if hit := r.Header.Get("X-Cache") == "HIT"; hit != (i == 1 && stored) {
						t.Errorf("%d parts, request %d: got %q", parts, i, r.Header.Get("X-Cache"))
					}
				}
			}
		})
	}
}

// TestIncomplete: what lacks its end is not stored.
func TestIncomplete(t *testing.T) {
	t.Parallel()
	o := &origin{serve: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "5")
		fmt.Fprint(w, "four")
	}}
	h := httpcache.Middleware(openMemory(t), httpcache.Config{})(o)
	get(t, h, "/")
	want(t, get(t, h, "/"), "MISS")
}

func TestUnannouncedTrailer(t *testing.T) {
	t.Parallel()
	o := &origin{serve: func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "x")
		w.Header().Set(http.TrailerPrefix+"X-Sum", "1")
	}}
	h := httpcache.Middleware(openMemory(t), httpcache.Config{})(o)
	get(t, h, "/")
	want(t, get(t, h, "/"), "BYPASS")
}

// TestEarlyHints: an interim response is none.
func TestEarlyHints(t *testing.T) {
	t.Parallel()
	o := &origin{serve: func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("X-Late", "1")
		w.WriteHeader(http.StatusNonAuthoritativeInfo)
		fmt.Fprint(w, "x")
	}}
	s := httptest.NewServer(httpcache.Middleware(openMemory(t), httpcache.Config{})(o))
	defer s.Close()
	for _, state := range []string{"MISS", "HIT"} {
		r, err := fetchHead(t, s.URL)
		if err != nil {
			t.Fatal(err)
		}
		want(t, r, state)
		if got := body(t, r); got != "x" || r.StatusCode != http.StatusNonAuthoritativeInfo || r.Header.Get("X-Late") != "1" {
			t.Errorf("%s: got %d %q %v", state, r.StatusCode, got, r.Header)
		}
	}
}

// TestHijack takes the connection over through the middleware.
func TestHijack(t *testing.T) {
	t.Parallel()
	for name, outer := range map[string]func(*cache.Cache, http.Handler) http.Handler{
		"Middleware": func(c *cache.Cache, h http.Handler) http.Handler {
			return httpcache.Middleware(c, httpcache.Config{})(h)
		},
		"InvalidateOn": func(c *cache.Cache, h http.Handler) http.Handler {
			return httpcache.InvalidateOn(c, httpcache.Invalidation{Tags: func(*http.Request) []string { return []string{"a"} }})(h)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := &origin{serve: func(w http.ResponseWriter, _ *http.Request) {
				if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
					t.Error(err)
				}
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nmine")
			}}
			s := httptest.NewServer(outer(openMemory(t), o))
			defer s.Close()
			for range 2 {
				r, err := http.NewRequestWithContext(t.Context(), map[string]string{"Middleware": "GET", "InvalidateOn": "PUT"}[name], s.URL, http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				if got := body(t, resp); got != "mine" {
					t.Errorf("got %q", got)
				}
			}
			if got := o.calls.Load(); got != 2 {
				t.Errorf("calls: got %d, want 2", got)
			}
		})
	}
}
