package ratelimit_test

import (
	"context"
	"errors"
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

func ExampleByIP() {
	key := ratelimit.ByIP(netip.MustParsePrefix("10.0.0.0/8")) // the load balancers
	r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/", http.NoBody)
	r.RemoteAddr = "10.0.0.7:1234"
	r.Header.Set("X-Forwarded-For", "192.0.2.1, 203.0.113.7") // the balancer wrote the last
	fmt.Println(key(r))
	r.RemoteAddr = "[2001:db8:1:2::5]:1234" // not a balancer: the header means nothing
	fmt.Println(key(r))
	// Output:
	// ip:203.0.113.7 <nil>
	// ip:2001:db8:1:2::/64 <nil>
}

func ExampleByHeader() {
	key := ratelimit.ByHeader("X-Api-Key")
	r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/", http.NoBody)
	_, err := key(r)
	fmt.Println(errors.Is(err, ratelimit.ErrIdentifier)) // the middleware answers 400
	r.Header.Set("X-Api-Key", "secret")
	fmt.Println(key(r))
	// Output:
	// true
	// x-api-key:2bb80d537b1da3e38bd30361aa855686 <nil>
}

func ExampleByUser() {
	key := ratelimit.ByUser(userOf) // what authentication has left in the context
	r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/", http.NoBody)
	fmt.Println(key(r.WithContext(context.WithValue(r.Context(), userKey{}, "42"))))
	_, err := key(r)
	fmt.Println(errors.Is(err, ratelimit.ErrIdentifier))
	// Output:
	// user:42 <nil>
	// true
}
