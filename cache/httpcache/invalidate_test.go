package httpcache_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/httpcache"
)

// TestReadAfterWrite: a client that has the response to its write reads what it
// wrote, from another process too.
func TestReadAfterWrite(t *testing.T) {
	t.Parallel()
	key := func(r *http.Request) string { return "api:" + r.URL.Path }
	tag := func(*http.Request) []string { return []string{"orders"} }
	for name, what := range map[string]httpcache.Invalidation{
		"keys":     {Keys: func(r *http.Request) []string { return []string{key(r)} }},
		"tags":     {Tags: tag},
		"patterns": {Patterns: func(*http.Request) []string { return []string{"api:/orders*"} }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			caches := openRedis(t, 2)
			var data atomic.Int64
			read := httpcache.Middleware(caches[0], httpcache.Config{Key: key, Tags: tag})(&origin{
				serve: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, data.Load()) },
			})
			write := httpcache.InvalidateOn(caches[1], what)(&origin{serve: func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Query().Get("how") {
				case "flush":
					data.Add(1)
					w.(http.Flusher).Flush()
				case "long":
					data.Add(1)
					for range 100 {
						fmt.Fprint(w, strings.Repeat("x", 1000))
					}
				case "late": // commits when it has answered
					fmt.Fprint(w, "done")
					data.Add(1)
				case "late flush": // and somebody reads before it has committed
					w.(http.Flusher).Flush()
					read.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/orders/1", http.NoBody))
					data.Add(1)
				case "created":
					data.Add(1)
					w.WriteHeader(http.StatusCreated)
				case "redirect":
					data.Add(1)
					http.Redirect(w, r, "/", http.StatusSeeOther)
				default:
					data.Add(1)
				}
			}})
			mux := http.NewServeMux()
			mux.Handle("GET /orders/1", read)
			mux.Handle("/orders/1", write)
			s := httptest.NewServer(mux)
			defer s.Close()
			client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
				for _, how := range []string{"", "flush", "long", "late", "late flush", "created", "redirect"} {
					if _, err := fetch(t.Context(), s.URL+"/orders/1"); err != nil {
						t.Fatal(err)
					}
					r, err := http.NewRequestWithContext(t.Context(), method, s.URL+"/orders/1?how="+url.QueryEscape(how), http.NoBody)
					if err != nil {
						t.Fatal(err)
					}
					resp, err := client.Do(r)
					if err != nil {
						t.Fatal(err)
					}
					if how == "flush" { // the header is enough
						defer resp.Body.Close()
					} else if got := body(t, resp); how == "long" && len(got) != 100_000 {
						t.Errorf("long: got %d bytes", len(got))
					}
					if got, err := fetch(t.Context(), s.URL+"/orders/1"); got != fmt.Sprint(data.Load()) || err != nil {
						t.Errorf("%s %s: read %s, %v after %d was written", method, how, got, err, data.Load())
					}
				}
			}
		})
	}
}

// invalidates reports whether a handler's answer invalidates.
func invalidates(t *testing.T, method string, serve http.HandlerFunc) (done bool, thrown any) {
	t.Helper()
	c := openMemory(t)
	if err := cache.Set(t.Context(), c, "k", 1, defaultTTL); err != nil {
		t.Fatal(err)
	}
	h := httpcache.InvalidateOn(c, httpcache.Invalidation{Keys: func(*http.Request) []string { return []string{"k"} }})(serve)
	func() {
		defer func() { thrown = recover() }()
		ask(t, h, method, "/")
	}()
	ok, err := c.Exists(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	return !ok, thrown
}

const defaultTTL = 5 * 60 * 1e9

func TestWhatInvalidates(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		method string
		status int
		want   bool
	}{
		"nothing said": {http.MethodPost, 0, true},
		"201":          {http.MethodPost, 201, true},
		"204":          {http.MethodDelete, 204, true},
		"303":          {http.MethodPost, 303, true},
		"400":          {http.MethodPost, 400, false},
		"409":          {http.MethodPut, 409, false},
		"500":          {http.MethodPut, 500, true},
		"GET":          {http.MethodGet, 200, false},
		"HEAD":         {http.MethodHead, 200, false},
		"OPTIONS":      {http.MethodOptions, 204, false},
		"own method":   {"MERGE", 200, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, _ := invalidates(t, tc.method, func(w http.ResponseWriter, _ *http.Request) {
				if tc.status != 0 {
					w.WriteHeader(tc.status)
				}
			})
			if got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
	done, thrown := invalidates(t, http.MethodPost, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if !done || thrown != any(http.ErrAbortHandler) {
		t.Errorf("panic: got %v, %v", done, thrown)
	}
}

// TestHeldResponse: what InvalidateOn holds back arrives as the handler wrote it.
func TestHeldResponse(t *testing.T) {
	t.Parallel()
	tags := httpcache.Invalidation{Tags: func(*http.Request) []string { return []string{"a"} }}
	h := httpcache.InvalidateOn(openMemory(t), tags)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("X-A", "1")
		w.Header().Set("Trailer", "X-Sum")
		w.WriteHeader(http.StatusAccepted)
		w.WriteHeader(http.StatusTeapot) // too late
		w.Header().Set("X-A", "2")
		fmt.Fprint(w, "one ")
		fmt.Fprint(w, "two")
		w.Header().Set("X-Sum", "3")
	}))
	s := httptest.NewServer(h)
	defer s.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if got := body(t, resp); got != "one two" || resp.StatusCode != http.StatusAccepted || resp.Header.Get("X-A") != "1" || resp.Trailer.Get("X-Sum") != "3" {
		t.Errorf("got %d %q %v %v", resp.StatusCode, got, resp.Header, resp.Trailer)
	}
}

// TestInvalidationFails: the client gets its response, and the log says so.
func TestInvalidationFails(t *testing.T) {
	t.Parallel()
	c, err := cache.Open(t.Context(), "redis://127.0.0.1:1/?max_retries=-1", cache.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var log bytes.Buffer
	h := httpcache.InvalidateOn(c, httpcache.Invalidation{
		Keys:     func(*http.Request) []string { return []string{"k"} },
		Patterns: func(*http.Request) []string { return []string{"p*"} },
		Logger:   slog.New(slog.NewTextHandler(&log, nil)),
	})(says("written"))
	r := ask(t, h, http.MethodPost, "/orders")
	if got := body(t, r); got != "written" || r.StatusCode != http.StatusOK {
		t.Errorf("got %d %q", r.StatusCode, got)
	}
	for _, part := range []string{"level=ERROR", "/orders", "[k]", "[p*]"} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("the log does not say %q: %s", part, log.String())
		}
	}
}

// TestClientLeavesAfterWrite: it is invalidated all the same.
func TestClientLeavesAfterWrite(t *testing.T) {
	t.Parallel()
	c := openRedis(t, 1)[0]
	if err := cache.Set(t.Context(), c, "k", 1, defaultTTL); err != nil {
		t.Fatal(err)
	}
	h := httpcache.InvalidateOn(c, httpcache.Invalidation{Keys: func(*http.Request) []string { return []string{"k"} }})(says("x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodPost, "/", http.NoBody))
	if ok, err := c.Exists(t.Context(), "k"); ok || err != nil {
		t.Errorf("the key is there: %v, %v", ok, err)
	}
}

// TestPathValues: the functions see what a mux inside has found.
func TestPathValues(t *testing.T) {
	t.Parallel()
	var got []string
	mux := http.NewServeMux()
	mux.Handle("PUT /orders/{id}", says("x"))
	h := httpcache.InvalidateOn(openMemory(t), httpcache.Invalidation{Tags: func(r *http.Request) []string {
		got = append(got, "order:"+r.PathValue("id"))
		return got
	}})(mux)
	ask(t, h, http.MethodPut, "/orders/42")
	if !slices.Equal(got, []string{"order:42"}) {
		t.Errorf("got %q", got)
	}
}

func TestInvalidateOnNothing(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("it was accepted")
		}
	}()
	httpcache.InvalidateOn(openMemory(t), httpcache.Invalidation{})
}
