package ratelimit_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"

	"github.com/freshet-dev/freshet/cache/ratelimit"
)

func ExampleMiddleware() {
	limiter := ratelimit.NewMemory(ratelimit.Config{})
	limit := ratelimit.Middleware(limiter, ratelimit.MiddlewareConfig{
		Key:    ratelimit.ByIP(netip.MustParsePrefix("10.0.0.0/8")), // the load balancers
		Limits: []ratelimit.Limit{ratelimit.PerMinute(1).By(ratelimit.FixedWindow)},
	})
	mux := http.NewServeMux()
	mux.Handle("GET /orders", limit(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "all orders")
	})))

	for range 2 {
		r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/orders", http.NoBody)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		fmt.Printf("%d %s %s %q\n", w.Code, w.Header().Get("RateLimit-Policy"), w.Header().Get("RateLimit"), w.Header().Get("Retry-After"))
	}
	// Output:
	// 200 "default";q=1;w=60 "default";r=0;t=60 ""
	// 429 "default";q=1;w=60 "default";r=0;t=60 "60"
}

func ExampleFirstOf() {
	// Users by who they are, all others by where they come from.
	key := ratelimit.FirstOf(ratelimit.ByUser(userOf), ratelimit.ByIP())
	r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/", http.NoBody)
	r.RemoteAddr = "203.0.113.7:1234"
	fmt.Println(key(r))
	fmt.Println(key(r.WithContext(context.WithValue(r.Context(), userKey{}, "42"))))
	// Output:
	// ip:203.0.113.7 <nil>
	// user:42 <nil>
}
