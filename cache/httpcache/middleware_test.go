package httpcache_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-dev/freshet/cache/httpcache"
)

func TestMissThenHit(t *testing.T) {
	t.Parallel()
	for store, open := range stores() {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			c := open(t)

			o := &origin{serve: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("Date", "Mon, 02 Jan 2006 15:04:05 GMT")
				w.Header()["X-List"] = []string{"a", "b"}
				w.Header().Set("Connection", "X-Hop, close")
				w.Header().Set("X-Hop", "1")
				w.Header().Set("Keep-Alive", "timeout=5")
				fmt.Fprint(w, `{"a":1}`)
			}}
			h := httpcache.Middleware(c, httpcache.Config{PlainKey: true, TTL: time.Minute, Name: "edge"})(o)
			first := get(t, h, "/orders?b=2&a=1")
			want(t, first, "MISS")
			if got := first.Header.Get("Cache-Status"); got != "edge; fwd=uri-miss; stored" {
				t.Errorf("miss: got Cache-Status %q", got)
			}
			second := get(t, h, "/orders?a=1&b=2")
			want(t, second, "HIT")
			if got := second.Header.Get("Cache-Status"); !strings.HasPrefix(got, "edge; hit; ttl=") {
				t.Errorf("hit: got Cache-Status %q", got)
			}
			if got := body(t, second); got != `{"a":1}` {
				t.Errorf("body: got %q", got)
			}
			for name, want := range map[string]string{
				"Content-Type": "application/json", "Date": "Mon, 02 Jan 2006 15:04:05 GMT", "Content-Length": "7", "Age": "0",
				"X-Hop": "", "Keep-Alive": "", "Connection": "",
			} {
				if got := second.Header.Get(name); got != want {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
			}
			if got := second.Header["X-List"]; !slices.Equal(got, []string{"a", "b"}) {
				t.Errorf("X-List: got %q", got)
			}
			if got := second.Header.Get("Etag"); !strings.HasPrefix(got, `W/"`) {
				t.Errorf("Etag: got %q, want a weak one", got)
			}
			key := second.Header.Get("X-Cache-Key")
			if key != first.Header.Get("X-Cache-Key") || !strings.HasPrefix(key, "api:/orders:") {
				t.Errorf("X-Cache-Key: got %q and %q", first.Header.Get("X-Cache-Key"), key)
			}
			if got := o.calls.Load(); got != 1 {
				t.Errorf("calls: got %d, want 1", got)
			}
			if err := c.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
			want(t, get(t, h, "/orders?a=1&b=2"), "MISS")
		})
	}
}

func TestHashedKey(t *testing.T) {
	t.Parallel()
	h := httpcache.Middleware(openMemory(t), httpcache.Config{})(says("x"))
	r := get(t, h, "/secret")
	if got := r.Header.Get("X-Cache-Key"); got == "" || strings.Contains(got, "secret") {
		t.Errorf("X-Cache-Key: got %q, want it hashed", got)
	}
}

// TestOuterHeaders sets headers outside of the middleware: they belong to each
// request, and not to what is stored.
func TestOuterHeaders(t *testing.T) {
	t.Parallel()
	c, n := openMemory(t), 0
	inner := httpcache.Middleware(c, httpcache.Config{})(&origin{serve: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Made-By", "handler")
		w.Header().Add("Vary", "Accept")
		fmt.Fprint(w, "x")
	}})
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n++
		w.Header().Set("X-Request-Id", fmt.Sprint(n))
		w.Header().Set("Vary", "Origin")
		inner.ServeHTTP(w, r)
	})
	get(t, h, "/")
	r := get(t, h, "/")
	want(t, r, "HIT")
	if got := r.Header.Get("X-Request-Id"); got != "2" {
		t.Errorf("X-Request-Id: got %q, want 2", got)
	}
	if got := r.Header["Vary"]; !slices.Equal(got, []string{"Origin", "Accept"}) {
		t.Errorf("Vary: got %q", got)
	}
	if got := r.Header.Get("X-Made-By"); got != "handler" {
		t.Errorf("X-Made-By: got %q", got)
	}
}

func TestLifetime(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		header string
		lasts  time.Duration
	}{
		"nothing said":         {"X: y", time.Minute},
		"max-age":              {"Cache-Control: max-age=10", 10 * time.Second},
		"s-maxage first":       {"Cache-Control: max-age=10, s-maxage=20", 20 * time.Second},
		"never longer":         {"Cache-Control: max-age=3600", time.Minute},
		"the lesser of two":    {"Cache-Control: max-age=30, max-age=10", 10 * time.Second},
		"quoted, and too long": {`Cache-Control: x="a, max-age=3", max-age=99999999999999999999`, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := openMemory(t)
				o := &origin{serve: func(w http.ResponseWriter, _ *http.Request) {
					for name, lines := range header(tc.header) {
						w.Header()[name] = lines
					}
				}}
				h := httpcache.Middleware(c, plain(httpcache.Config{TTL: time.Minute}))(o)
				first := get(t, h, "/")
				want(t, first, "MISS")
				if ttl, err := c.TTL(t.Context(), first.Header.Get("X-Cache-Key")); ttl != tc.lasts || err != nil {
					t.Errorf("the entry lasts %v, %v, want %v", ttl, err, tc.lasts)
				}
				pause(t, tc.lasts-time.Second)
				r := get(t, h, "/")
				want(t, r, "HIT")
				if got, want := r.Header.Get("Age"), fmt.Sprint(int((tc.lasts-time.Second)/time.Second)); got != want {
					t.Errorf("Age: got %s, want %s", got, want)
				}
				pause(t, time.Second)
				want(t, get(t, h, "/"), "MISS")
			})
		})
	}
}

// pause lets time pass in a bubble.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	<-time.After(d)
}

func TestStaleIfError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := openMemory(t)
		status := http.StatusOK
		o := &origin{serve: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Status", fmt.Sprint(status))
			w.WriteHeader(status)
			fmt.Fprintf(w, "status %d", status)
		}}
		h := httpcache.Middleware(c, plain(httpcache.Config{TTL: time.Minute, StaleIfError: time.Hour}))(o)
		key := get(t, h, "/").Header.Get("X-Cache-Key")
		want(t, get(t, h, "/"), "HIT")
		pause(t, 2*time.Minute)
		status = http.StatusBadGateway
		r := get(t, h, "/")
		want(t, r, "STALE")
		if got := body(t, r); r.StatusCode != http.StatusOK || got != "status 200" || r.Header.Get("X-Status") != "200" {
			t.Errorf("stale: got %d %q %q", r.StatusCode, got, r.Header)
		}
		if got := r.Header.Get("Age"); got != "120" {
			t.Errorf("Age: got %q, want 120", got)
		}
		// What is no failure is passed on.
		status = http.StatusNotFound
		if r := get(t, h, "/"); r.StatusCode != http.StatusNotFound {
			t.Errorf("not found: got %d", r.StatusCode)
		}
		pause(t, 3*time.Second)
		status = http.StatusInternalServerError
		want(t, get(t, h, "/"), "STALE")
		// What was invalidated is never served.
		if err := c.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		if r := get(t, h, "/"); r.StatusCode != http.StatusInternalServerError {
			t.Errorf("invalidated: got %d %s", r.StatusCode, r.Header.Get("X-Cache"))
		}
		status = http.StatusOK
		want(t, get(t, h, "/"), "MISS")
		pause(t, 2*time.Hour)
		status = http.StatusServiceUnavailable
		if r := get(t, h, "/"); r.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("too old: got %d", r.StatusCode)
		}
	})
}

func TestHead(t *testing.T) {
	t.Parallel()
	for store, open := range stores() {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			c := open(t)

			o := says("four")
			h := httpcache.Middleware(c, httpcache.Config{})(o)
			want(t, ask(t, h, http.MethodHead, "/"), "MISS")
			want(t, get(t, h, "/"), "MISS") // a HEAD's response is not stored
			r := ask(t, h, http.MethodHead, "/")
			want(t, r, "HIT")
			if got := body(t, r); got != "" || r.Header.Get("Content-Length") != "4" {
				t.Errorf("HEAD: got body %q, Content-Length %q", got, r.Header.Get("Content-Length"))
			}
			if got := r.Header.Get("Content-Type"); got != "text/plain; charset=utf-8" {
				t.Errorf("HEAD: got Content-Type %q", got)
			}
			if got := o.calls.Load(); got != 2 {
				t.Errorf("calls: got %d, want 2", got)
			}
		})
	}
}

func TestConfigPanics(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]httpcache.Config{
		"negative TTL":    {TTL: -1},
		"tiny TTL":        {TTL: time.Microsecond},
		"negative stale":  {StaleIfError: -1},
		"partial content": {StatusCodes: []int{http.StatusPartialContent}},
		"not modified":    {StatusCodes: []int{http.StatusNotModified}},
		"no final status": {StatusCodes: []int{http.StatusContinue}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			defer func() {
				if recover() == nil {
					t.Error("it was accepted")
				}
			}()
			httpcache.Middleware(openMemory(t), cfg)
		})
	}
}
