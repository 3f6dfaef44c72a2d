package httpcache_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/httpcache"
)

// askAtOnce sends requests to handlers in turn, all at the same time.
func askAtOnce(t *testing.T, n int, handlers ...http.Handler) []*http.Response {
	t.Helper()
	all := make([]*http.Response, n)
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
			w := httptest.NewRecorder()
			handlers[i%len(handlers)].ServeHTTP(w, r)
			all[i] = w.Result()
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	wait(t, "the answers", done)
	return all
}

func TestOneCallPerKey(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T) []*cache.Cache{
		"memory":        func(t *testing.T) []*cache.Cache { t.Helper(); return []*cache.Cache{openMemory(t)} },
		"two processes": func(t *testing.T) []*cache.Cache { t.Helper(); return openRedis(t, 2) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const n = 1000
			o := &origin{serve: func(w http.ResponseWriter, r *http.Request) {
				select { // long enough for all to have come
				case <-time.After(300 * time.Millisecond):
				case <-r.Context().Done():
				}
				fmt.Fprint(w, "the answer")
			}}
			cfg := httpcache.Config{Tags: func(*http.Request) []string { return []string{"all"} }}
			var handlers []http.Handler
			caches := open(t)
			for _, c := range caches {
				handlers = append(handlers, httpcache.Middleware(c, cfg)(o))
			}
			for round := range 2 {
				for i, r := range askAtOnce(t, n, handlers...) {
					if got := body(t, r); got != "the answer" || r.StatusCode != http.StatusOK {
						t.Fatalf("answer %d: got %d %q", i, r.StatusCode, got)
					}
				}
				if got := o.calls.Load(); got != int64(round+1) {
					t.Errorf("round %d: %d calls of the handler", round, got)
				}
				// The second round finds what the tag has made void still there.
				if err := caches[0].InvalidateTags(t.Context(), "all"); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestNotStorableAtOnce: requests for what cannot be stored run side by side. The
// handler waits until all of them are in it.
func TestNotStorableAtOnce(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]func(http.ResponseWriter, *http.Request){
		"by header": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "private")
			w.WriteHeader(http.StatusOK)
		},
		"by status": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"by call":   func(_ http.ResponseWriter, r *http.Request) { httpcache.NoStore(r.Context()) },
		"by size": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(make([]byte, 5))
			_, _ = w.Write(make([]byte, 5))
		},
		"by announced size": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9")
			_, _ = w.Write(make([]byte, 9))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for store, open := range stores() {
				t.Run(store, func(t *testing.T) {
					t.Parallel()
					c := open(t)

					const n = 50
					var in sync.WaitGroup
					in.Add(n)
					all := make(chan struct{})
					go func() { in.Wait(); close(all) }()
					o := &origin{serve: func(w http.ResponseWriter, r *http.Request) {
						refuse(w, r)
						in.Done()
						<-all
					}}
					h := httpcache.Middleware(c, httpcache.Config{MaxBody: 8})(o)
					for _, r := range askAtOnce(t, n, h) {
						if got := r.Header.Get("X-Cache"); got == "HIT" {
							t.Errorf("X-Cache: got %q", got)
						}
					}
				})
			}
		})
	}
}

// TestManyKeysWithLoads has handlers that call loaders of the same cache, for more
// keys at a time than there may be loads.
func TestManyKeysWithLoads(t *testing.T) {
	t.Parallel()
	c := openMemory(t)
	const n = 1000
	var in atomic.Int64
	full := make(chan struct{})
	o := &origin{serve: func(w http.ResponseWriter, r *http.Request) {
		if in.Add(1) == n {
			close(full)
		}
		<-full
		v, err := cache.GetOrSet(r.Context(), c, "data:"+r.URL.Path, time.Minute, func(context.Context) (int, error) { return 1, nil })
		fmt.Fprint(w, v, err)
	}}
	h := httpcache.Middleware(c, httpcache.Config{})(o)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprint("/", i), http.NoBody))
			if got := w.Body.String(); got != "1 <nil>" {
				t.Errorf("got %q", got)
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	wait(t, "the answers", done)
}

// held is a handler that says when it is called and waits to be let go on.
type held struct {
	called chan *http.Request
	goOn   chan struct{}
}

func hold() *held { return &held{called: make(chan *http.Request, 100), goOn: make(chan struct{})} }

func (h *held) origin(then http.HandlerFunc) *origin {
	return &origin{serve: func(w http.ResponseWriter, r *http.Request) {
		h.called <- r
		<-h.goOn
		then(w, r)
	}}
}

func TestInvalidatedWhileTheHandlerRuns(t *testing.T) {
	t.Parallel()
	type invalidate func(ctx context.Context, c *cache.Cache, key string) error
	for name, tc := range map[string]struct {
		vary string
		do   invalidate
	}{
		"key": {do: func(ctx context.Context, c *cache.Cache, key string) error { return c.Delete(ctx, key) }},
		"pattern": {do: func(ctx context.Context, c *cache.Cache, _ string) error {
			_, err := c.InvalidatePattern(ctx, "api:/*")
			return err
		}},
		"tag of the configuration": {do: func(ctx context.Context, c *cache.Cache, _ string) error { return c.InvalidateTags(ctx, "outer") }},
		"tag of the handler":       {do: func(ctx context.Context, c *cache.Cache, _ string) error { return c.InvalidateTags(ctx, "inner") }},
		"tag, with Vary":           {vary: "Accept", do: func(ctx context.Context, c *cache.Cache, _ string) error { return c.InvalidateTags(ctx, "inner") }},
		"another tag":              {do: func(ctx context.Context, c *cache.Cache, _ string) error { return c.InvalidateTags(ctx, "other") }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			caches := openRedis(t, 2)
			var data atomic.Int64
			run := hold()
			o := &origin{serve: func(w http.ResponseWriter, r *http.Request) {
				if err := httpcache.Tag(r.Context(), "inner"); err != nil {
					t.Error(err)
				}
				read := data.Load()
				run.called <- r
				<-run.goOn
				if tc.vary != "" {
					w.Header().Set("Vary", tc.vary)
				}
				fmt.Fprint(w, read)
			}}
			cfg := plain(httpcache.Config{
				Key:  func(*http.Request) string { return "api:/:x" },
				Tags: func(*http.Request) []string { return []string{"outer"} },
			})
			h := httpcache.Middleware(caches[0], cfg)(o)
			answers := make(chan *http.Response, 1)
			go func() { answers <- get(t, h, "/") }()
			wait(t, "the handler", run.called)
			data.Store(1)
			if err := tc.do(t.Context(), caches[1], "api:/:x"); err != nil {
				t.Fatal(err)
			}
			close(run.goOn)
			if got := body(t, wait(t, "the answer", answers)); got != "0" {
				t.Errorf("the first: got %s, want 0", got)
			}
			second := get(t, h, "/")
			if name == "another tag" {
				want(t, second, "HIT")
				return
			}
			if got := body(t, second); got != "1" {
				t.Errorf("the second: got %s, a response from before the invalidation", got)
			}
			want(t, get(t, h, "/"), "HIT")
		})
	}
}

// TestVariantFilledAfterInvalidation fills a variant whose leading entry was
// invalidated meanwhile: nobody may find it.
func TestVariantFilledAfterInvalidation(t *testing.T) {
	t.Parallel()
	c := openRedis(t, 1)[0]
	var data atomic.Int64
	run := hold()
	o := &origin{serve: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "Accept")
		read := data.Load()
		if r.Header.Get("Accept") == "slow" && read == 0 {
			run.called <- r
			<-run.goOn
		}
		fmt.Fprint(w, read)
	}}
	h := httpcache.Middleware(c, plain(httpcache.Config{}))(o)
	key := get(t, h, "/", "Accept: quick").Header.Get("X-Cache-Key")
	answers := make(chan *http.Response, 1)
	go func() { answers <- get(t, h, "/", "Accept: slow") }()
	wait(t, "the handler", run.called)
	data.Store(1)
	if err := c.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	want(t, get(t, h, "/", "Accept: quick"), "MISS") // leads again, before the slow one is stored
	close(run.goOn)
	wait(t, "the answer", answers)
	if got := body(t, get(t, h, "/", "Accept: slow")); got != "1" {
		t.Errorf("got %s, a response from before the invalidation", got)
	}
}

// TestStoreDown: the handler answers, once for all who wait.
func TestStoreDown(t *testing.T) {
	t.Parallel()
	c, err := cache.Open(t.Context(), "redis://127.0.0.1:1/?max_retries=-1", cache.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	run := hold()
	o := run.origin(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "x") })
	h := httpcache.Middleware(c, httpcache.Config{})(o)
	first := make(chan *http.Response, 1)
	go func() { first <- get(t, h, "/") }()
	wait(t, "the handler", run.called)
	others := make(chan []*http.Response, 1)
	go func() { others <- askAtOnce(t, 20, h) }()
	until(t, "the others wait", func() bool { return c.Stats().Shared >= 20 })
	close(run.goOn)
	for _, r := range append(wait(t, "the others", others), wait(t, "the first", first)) {
		if got := body(t, r); got != "x" {
			t.Errorf("got %d %q", r.StatusCode, got)
		}
	}
	if got := o.calls.Load(); got != 1 {
		t.Errorf("calls: got %d, want 1", got)
	}
	r := ask(t, h, http.MethodHead, "/")
	want(t, r, "BYPASS")
}
