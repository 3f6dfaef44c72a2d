package httpcache_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-dev/freshet/cache/httpcache"
)

func TestPanic(t *testing.T) {
	t.Parallel()
	for _, thrown := range []any{http.ErrAbortHandler, "oh"} {
		t.Run(fmt.Sprint(thrown), func(t *testing.T) {
			t.Parallel()
			for store, open := range stores() {
				t.Run(store, func(t *testing.T) {
					t.Parallel()
					c := open(t)

					run := hold()
					var calls atomic.Int64
					o := run.origin(func(w http.ResponseWriter, _ *http.Request) {
						if calls.Add(1) == 1 {
							fmt.Fprint(w, "a part")
							panic(thrown)
						}
						fmt.Fprint(w, "whole")
					})
					h := httpcache.Middleware(c, httpcache.Config{})(o)
					caught := make(chan any, 1)
					go func() {
						defer func() { caught <- recover() }()
						get(t, h, "/")
					}()
					wait(t, "the handler", run.called)
					others := make(chan []*http.Response, 1)
					go func() { others <- askAtOnce(t, 20, h) }()
					until(t, "the others wait", func() bool { return c.Stats().Shared >= 20 })
					close(run.goOn)
					if got := wait(t, "the panic", caught); got != thrown {
						t.Errorf("got %v, want the very panic %v", got, thrown)
					}
					for _, r := range wait(t, "the others", others) {
						if got := body(t, r); got != "whole" {
							t.Errorf("another request: got %q", got)
						}
					}
					// The lease is free.
					get(t, h, "/")
					want(t, get(t, h, "/"), "HIT")
				})
			}
		})
	}
}

// TestLeaderLeaves: the client whose request calls the handler goes away, and the
// others get the response all the same.
func TestLeaderLeaves(t *testing.T) {
	t.Parallel()
	c := openRedis(t, 1)[0]
	run := hold()
	o := run.origin(func(w http.ResponseWriter, r *http.Request) {
		if err := r.Context().Err(); err != nil {
			t.Errorf("the handler's context: %v", err)
		}
		for range 3 {
			if _, err := fmt.Fprint(w, strings.Repeat("x", 100_000)); err != nil {
				t.Errorf("write: %v", err)
			}
		}
	})
	cached := httpcache.Middleware(c, httpcache.Config{})(o)
	requests := make(chan context.Context, 100)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests <- r.Context()
		cached.ServeHTTP(w, r)
	}))
	defer s.Close()
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := fetch(ctx, s.URL)
		left <- err
	}()
	first := wait(t, "the handler", run.called)
	others := make(chan string, 20)
	for range 20 {
		go func() {
			text, err := fetch(t.Context(), s.URL)
			if err != nil {
				t.Error(err)
			}
			others <- text
		}()
	}
	until(t, "the others wait", func() bool { return c.Stats().Shared >= 20 })
	leave()
	if err := wait(t, "the client", left); !errors.Is(err, context.Canceled) {
		t.Errorf("the client: got %v", err)
	}
	wait(t, "the server notices", wait(t, "the request", requests).Done())
	close(run.goOn)
	for range 20 {
		if got := wait(t, "the others", others); len(got) != 300_000 {
			t.Errorf("another client: got %d bytes, want 300000", len(got))
		}
	}
	if got := o.calls.Load(); got != 1 {
		t.Errorf("calls: got %d, want 1", got)
	}
	<-first.Context().Done() // it ends with the handler
}

func fetch(ctx context.Context, url string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	return string(all), err
}

// TestLeaderLeavesAlone: where nobody can use the response, the handler is told
// that its client has gone.
func TestLeaderLeavesAlone(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	called := make(chan struct{})
	o := &origin{serve: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusOK)
		close(called)
		select {
		case <-r.Context().Done():
			ended <- context.Cause(r.Context())
		case <-time.After(patience):
			ended <- nil
		}
	}}
	s := httptest.NewServer(httpcache.Middleware(openMemory(t), httpcache.Config{})(o))
	defer s.Close()
	ctx, leave := context.WithCancel(t.Context())
	go func() { _, _ = fetch(ctx, s.URL) }()
	wait(t, "the handler", called)
	leave()
	if err := wait(t, "the handler's context", ended); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the client's end", err)
	}
}

// TestLeaderLeftAlone: the client leaves first, and then it turns out that nobody
// can use the response.
func TestLeaderLeftAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		run := hold()
		o := run.origin(func(w http.ResponseWriter, r *http.Request) {
			if err := r.Context().Err(); err != nil {
				t.Errorf("before the header: %v", err)
			}
			w.Header().Set("Cache-Control", "no-store")
			w.WriteHeader(http.StatusOK)
			if err := context.Cause(r.Context()); !errors.Is(err, context.Canceled) {
				t.Errorf("behind the header: %v", err)
			}
		})
		h := httpcache.Middleware(openMemory(t), httpcache.Config{})(o)
		ctx, leave := context.WithCancel(t.Context())
		go h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", http.NoBody))
		<-run.called
		leave()
		synctest.Wait()
		close(run.goOn)
		synctest.Wait()
	})
}

// TestOthersAfterPersonal: who waits for a response that turns out to be for one
// user makes one for all.
func TestOthersAfterPersonal(t *testing.T) {
	t.Parallel()
	c := openMemory(t)
	run := hold()
	o := run.origin(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "for ", r.Header.Get("Cookie")) })
	h := httpcache.Middleware(c, httpcache.Config{})(o)
	one, other := make(chan *http.Response, 1), make(chan *http.Response, 1)
	go func() { one <- get(t, h, "/", "Cookie: me") }()
	wait(t, "the handler", run.called)
	go func() { other <- get(t, h, "/") }()
	until(t, "the other waits", func() bool { return c.Stats().Shared >= 1 })
	close(run.goOn)
	if got := body(t, wait(t, "the one", one)); got != "for me" {
		t.Errorf("the one: got %q", got)
	}
	if got := body(t, wait(t, "the other", other)); got != "for " {
		t.Errorf("the other: got %q", got)
	}
	want(t, get(t, h, "/"), "HIT")
}

// TestServersDeadline: a limit that the server sets on the request holds for the
// handler, and what it cuts short is not stored.
func TestServersDeadline(t *testing.T) {
	t.Parallel()
	o := &origin{serve: func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "a part")
		if _, ok := r.Context().Deadline(); ok {
			<-r.Context().Done()
		}
	}}
	cached := httpcache.Middleware(openMemory(t), httpcache.Config{})(o)
	limited := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 10*time.Millisecond)
		defer cancel()
		cached.ServeHTTP(w, r.WithContext(ctx))
	})
	want(t, get(t, limited, "/"), "MISS")
	want(t, get(t, cached, "/"), "MISS")
	want(t, get(t, cached, "/"), "HIT")
}

// TestWaiterLeaves: who waits stops waiting when its client goes.
func TestWaiterLeaves(t *testing.T) {
	t.Parallel()
	c := openMemory(t)
	run := hold()
	o := run.origin(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "x") })
	h := httpcache.Middleware(c, httpcache.Config{})(o)
	first := make(chan *http.Response, 1)
	go func() { first <- get(t, h, "/") }()
	wait(t, "the handler", run.called)
	ctx, leave := context.WithCancel(t.Context())
	second := make(chan struct{})
	go func() {
		defer close(second)
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", http.NoBody))
	}()
	until(t, "the second waits", func() bool { return c.Stats().Shared >= 1 })
	leave()
	wait(t, "the second", second)
	close(run.goOn)
	if got := body(t, wait(t, "the first", first)); got != "x" || o.calls.Load() != 1 {
		t.Errorf("got %q after %d calls", got, o.calls.Load())
	}
}
