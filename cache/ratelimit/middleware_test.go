package ratelimit_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/freshet-dev/freshet/cache/ratelimit"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

var ok = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })

func serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// headersOf are the headers that clients are told their limits by.
func headersOf(w *httptest.ResponseRecorder) string {
	var all []string
	for _, name := range []string{"RateLimit-Policy", "RateLimit", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Retry-After"} {
		if value := w.Header().Get(name); value != "" {
			all = append(all, name+": "+value)
		}
	}
	return strings.Join(all, "\n")
}

func TestMiddlewareHeaders(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		limits []ratelimit.Limit
		calls  []time.Duration // how long after the last
		want   []string        // "STATUS\nheaders" of each
	}{
		"one limit": {
			[]ratelimit.Limit{ratelimit.PerMinute(2)},
			[]time.Duration{0, 10 * time.Second, 10500 * time.Millisecond, 40 * time.Second},
			[]string{
				"200\nRateLimit-Policy: \"default\";q=2;w=60\nRateLimit: \"default\";r=1;t=60\nX-RateLimit-Limit: 2\nX-RateLimit-Remaining: 1\nX-RateLimit-Reset: 946684860",
				"200\nRateLimit-Policy: \"default\";q=2;w=60\nRateLimit: \"default\";r=0;t=60\nX-RateLimit-Limit: 2\nX-RateLimit-Remaining: 0\nX-RateLimit-Reset: 946684870",
				"429\nRateLimit-Policy: \"default\";q=2;w=60\nRateLimit: \"default\";r=0;t=40\nX-RateLimit-Limit: 2\nX-RateLimit-Remaining: 0\nX-RateLimit-Reset: 946684870\nRetry-After: 40",
				"200\nRateLimit-Policy: \"default\";q=2;w=60\nRateLimit: \"default\";r=0;t=60\nX-RateLimit-Limit: 2\nX-RateLimit-Remaining: 0\nX-RateLimit-Reset: 946684921",
			},
		},
		"several": {
			[]ratelimit.Limit{ratelimit.PerHour(100).Named(`a "b"\`).By(ratelimit.FixedWindow), {Max: 1, Window: 1500 * time.Millisecond, Name: "burst", Algorithm: ratelimit.FixedWindow}},
			[]time.Duration{0, time.Second},
			[]string{
				"200\nRateLimit-Policy: \"a \\\"b\\\"\\\\\";q=100;w=3600, \"burst\";q=1;w=2\nRateLimit: \"a \\\"b\\\"\\\\\";r=99;t=3600, \"burst\";r=0;t=2\nX-RateLimit-Limit: 1\nX-RateLimit-Remaining: 0\nX-RateLimit-Reset: 946684802",
				"429\nRateLimit-Policy: \"a \\\"b\\\"\\\\\";q=100;w=3600, \"burst\";q=1;w=2\nRateLimit: \"a \\\"b\\\"\\\\\";r=99;t=3599, \"burst\";r=0;t=1\nX-RateLimit-Limit: 1\nX-RateLimit-Remaining: 0\nX-RateLimit-Reset: 946684802\nRetry-After: 1",
			},
		},
		"GCRA": {
			[]ratelimit.Limit{{Max: 10, Window: time.Minute, Algorithm: ratelimit.GCRA, Burst: 1}},
			[]time.Duration{0, 0},
			[]string{
				"200\nRateLimit-Policy: \"default\";q=10;w=60\nRateLimit: \"default\";r=0;t=6\nX-RateLimit-Limit: 10\nX-RateLimit-Remaining: 0\nX-RateLimit-Reset: 946684806",
				"429\nRateLimit-Policy: \"default\";q=10;w=60\nRateLimit: \"default\";r=0;t=6\nX-RateLimit-Limit: 10\nX-RateLimit-Remaining: 0\nX-RateLimit-Reset: 946684806\nRetry-After: 6",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { // begins with the year 2000
				l := ratelimit.NewMemory(ratelimit.Config{})
				h := ratelimit.Middleware(l, ratelimit.MiddlewareConfig{Key: ratelimit.ByIP(), Limits: tc.limits})(ok)
				for i, pause := range tc.calls {
					<-time.After(pause)
					w := serve(h, request(t, "203.0.113.7:1"))
					if got := fmt.Sprintf("%d\n%s", w.Code, headersOf(w)); got != tc.want[i] {
						t.Errorf("call %d:\ngot  %s\nwant %s", i, got, tc.want[i])
					}
				}
			})
		})
	}
}

func TestMiddlewareRefusal(t *testing.T) {
	t.Parallel()
	l := ratelimit.NewMemory(ratelimit.Config{})
	h := ratelimit.Middleware(l, ratelimit.MiddlewareConfig{
		Key: ratelimit.ByIP(), Limits: []ratelimit.Limit{ratelimit.PerHour(9), ratelimit.PerHour(1).Named("tight")},
	})(ok)
	serve(h, request(t, "203.0.113.7:1"))
	w := serve(h, request(t, "203.0.113.7:1"))
	var body map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	after, _ := body["retry_after"].(float64)
	if w.Code != 429 || w.Header().Get("Content-Type") != "application/problem+json" || w.Header().Get("Cache-Control") != "no-store" ||
		after < 3500 || after > 3601 || fmt.Sprint(int(after)) != w.Header().Get("Retry-After") {
		t.Errorf("got %d, %v, %v", w.Code, w.Header(), body)
	}
	delete(body, "retry_after")
	delete(body, "detail")
	want := "map[error:rate_limited status:429 title:Too Many Requests type:https://iana.org/assignments/http-problem-types#quota-exceeded violated-policies:[tight]]"
	if got := fmt.Sprint(body); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if w := serve(h, request(t, "203.0.113.8:1")); w.Code != 200 || w.Body.String() != "ok" {
		t.Errorf("another client: got %d, %s", w.Code, w.Body)
	}
}

// TestMiddlewareSkipsNothing: what cannot be decided is refused and reported.
func TestMiddlewareSkipsNothing(t *testing.T) {
	t.Parallel()
	ip, limits := ratelimit.ByIP(), []ratelimit.Limit{ratelimit.PerHour(1)}
	for name, tc := range map[string]struct {
		cfg    ratelimit.MiddlewareConfig
		status int
		err    error
		text   string
	}{
		"no identifier": {ratelimit.MiddlewareConfig{Key: ratelimit.ByHeader("X-Api-Key"), Limits: limits}, 400, ratelimit.ErrIdentifier, "no_identifier"},
		"empty identifier": {
			ratelimit.MiddlewareConfig{Key: func(*http.Request) (string, error) { return "", nil }, Limits: limits},
			400, ratelimit.ErrIdentifier, "no_identifier",
		},
		"invalid limits": {
			ratelimit.MiddlewareConfig{Key: ip, LimitsFor: func(*http.Request) []ratelimit.Limit { return []ratelimit.Limit{{}} }},
			500, ratelimit.ErrLimit, "internal_error",
		},
		"limits of one name": {
			ratelimit.MiddlewareConfig{Key: ip, LimitsFor: func(*http.Request) []ratelimit.Limit {
				return []ratelimit.Limit{ratelimit.PerHour(1), ratelimit.PerMinute(1)}
			}},
			500, ratelimit.ErrLimit, "internal_error",
		},
		"no limits for this one": {
			ratelimit.MiddlewareConfig{Key: ip, LimitsFor: func(*http.Request) []ratelimit.Limit { return nil }}, 0, nil, "ok",
		},
	} {
		var decisions []ratelimit.Decision
		tc.cfg.OnDecision = func(_ *http.Request, d ratelimit.Decision) { decisions = append(decisions, d) }
		w := serve(ratelimit.Middleware(ratelimit.NewMemory(ratelimit.Config{}), tc.cfg)(ok), request(t, "203.0.113.7:1"))
		if want := max(tc.status, 200) + min(tc.status, 0); w.Code != want || !strings.Contains(w.Body.String(), tc.text) {
			t.Errorf("%s: got %d, %s", name, w.Code, w.Body)
		}
		if len(decisions) != 1 || decisions[0].Status != tc.status || !errors.Is(decisions[0].Err, tc.err) {
			t.Errorf("%s: got decisions %+v", name, decisions)
		}
	}
}

func TestMiddlewareShadow(t *testing.T) {
	t.Parallel()
	var statuses []int
	h := ratelimit.Middleware(ratelimit.NewMemory(ratelimit.Config{}), ratelimit.MiddlewareConfig{
		Key: ratelimit.ByIP(), Limits: []ratelimit.Limit{ratelimit.PerHour(1)}, Shadow: true,
		OnDecision: func(_ *http.Request, d ratelimit.Decision) { statuses = append(statuses, d.Status) },
	})(ok)
	for _, remote := range []string{"203.0.113.7:1", "203.0.113.7:1", "@"} {
		if w := serve(h, request(t, remote)); w.Code != 200 || headersOf(w) != "" {
			t.Errorf("got %d, %s", w.Code, headersOf(w))
		}
	}
	if got := fmt.Sprint(statuses); got != "[0 429 400]" {
		t.Errorf("decided %s", got)
	}
}

// TestMiddlewareEndpoints: each pattern counts by itself, and paths that clients
// make up are not endpoints.
func TestMiddlewareEndpoints(t *testing.T) {
	t.Parallel()
	var endpoints []string
	limit := ratelimit.Middleware(ratelimit.NewMemory(ratelimit.Config{}), ratelimit.MiddlewareConfig{
		Key: ratelimit.ByIP(), Limits: []ratelimit.Limit{ratelimit.PerHour(1)},
		OnDecision: func(_ *http.Request, d ratelimit.Decision) {
			endpoints = append(endpoints, fmt.Sprint(d.Identifier, " ", d.Endpoint, " ", d.Status))
		},
	})
	mux := http.NewServeMux()
	mux.Handle("GET /orders/{id}", limit(ok))
	mux.Handle("GET /clients/{id}", limit(ok))
	for _, path := range []string{"/orders/1", "/orders/2", "/clients/1"} {
		r := request(t, "203.0.113.7:1")
		r.URL.Path = path
		serve(mux, r)
		serve(limit(ok), r.Clone(t.Context()))
	}
	want := "[ip:203.0.113.7 GET /orders/{id} 0 ip:203.0.113.7 GET /orders/{id} 429 ip:203.0.113.7 GET /orders/{id} 429 " +
		"ip:203.0.113.7 GET /orders/{id} 429 ip:203.0.113.7 GET /clients/{id} 0 ip:203.0.113.7 GET /clients/{id} 429]"
	if got := fmt.Sprint(endpoints); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	endpoints = nil
	serve(limit(ok), request(t, "203.0.113.7:1"))
	if got := fmt.Sprint(endpoints); got != "[ip:203.0.113.7 all 0]" {
		t.Errorf("outside of a mux: got %s", got)
	}
}

func TestMiddlewareCustom(t *testing.T) {
	t.Parallel()
	h := ratelimit.Middleware(ratelimit.NewMemory(ratelimit.Config{}), ratelimit.MiddlewareConfig{
		Key: ratelimit.ByIP(), Endpoint: func(r *http.Request) string { return r.Method },
		LimitsFor: func(r *http.Request) []ratelimit.Limit {
			if r.Header.Get("X-Plan") == "big" {
				return []ratelimit.Limit{ratelimit.PerHour(2)}
			}
			return []ratelimit.Limit{ratelimit.PerHour(1)}
		},
		Refuse: func(w http.ResponseWriter, _ *http.Request, d ratelimit.Decision) {
			w.WriteHeader(d.Status)
			fmt.Fprint(w, "slow down, ", d.Identifier)
		},
	})(ok)
	serve(h, request(t, "203.0.113.7:1"))
	if w := serve(h, request(t, "203.0.113.7:1")); w.Code != 429 || w.Body.String() != "slow down, ip:203.0.113.7" || w.Header().Get("Retry-After") == "" {
		t.Errorf("got %d, %s, %v", w.Code, w.Body, w.Header())
	}
	if w := serve(h, request(t, "203.0.113.7:1", "X-Plan", "big")); w.Code != 200 {
		t.Errorf("with another plan: got %d", w.Code)
	}
}

// TestMiddlewareWithoutRedis: what happens to requests is what was chosen.
func TestMiddlewareWithoutRedis(t *testing.T) {
	t.Parallel()
	for failure, want := range map[ratelimit.Failure]string{
		ratelimit.FailLocal:  "[200 429]",
		ratelimit.FailOpen:   "[200 200]",
		ratelimit.FailClosed: "[503 503]",
	} {
		t.Run(failure.String(), func(t *testing.T) {
			t.Parallel()
			server := servertest.Redis(t)
			l := open(t, server.URL(), ratelimit.Config{Failure: failure, Logger: slog.New(slog.DiscardHandler)})
			if err := server.Kill(); err != nil {
				t.Fatal(err)
			}
			h := ratelimit.Middleware(l, ratelimit.MiddlewareConfig{Key: ratelimit.ByIP(), Limits: []ratelimit.Limit{ratelimit.PerHour(1)}})(ok)
			var statuses []int
			for range 2 {
				w := serve(h, request(t, "203.0.113.7:1"))
				statuses = append(statuses, w.Code)
				counted := failure == ratelimit.FailLocal
				if (w.Header().Get("RateLimit") != "") != counted || w.Header().Get("RateLimit-Policy") == "" || (w.Header().Get("Retry-After") != "") != (w.Code != 200) {
					t.Errorf("status %d has %s", w.Code, headersOf(w))
				}
			}
			if got := fmt.Sprint(statuses); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestMiddlewarePanicsAtTheStart(t *testing.T) {
	t.Parallel()
	ip := ratelimit.ByIP()
	for name, cfg := range map[string]ratelimit.MiddlewareConfig{
		"no key":        {Limits: []ratelimit.Limit{ratelimit.PerHour(1)}},
		"no limits":     {Key: ip},
		"invalid limit": {Key: ip, Limits: []ratelimit.Limit{{Max: 1}}},
		"one name":      {Key: ip, Limits: []ratelimit.Limit{ratelimit.PerHour(1), ratelimit.PerMinute(1)}},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			ratelimit.Middleware(ratelimit.NewMemory(ratelimit.Config{}), cfg)
		}()
	}
}
