package httpcache_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/httpcache"
)

// show sends a request and prints what is answered.
func show(h http.Handler, method, target string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), method, target, http.NoBody))
	fmt.Println(strings.TrimSpace(fmt.Sprint(method, " ", target, ": ", w.Header().Get("X-Cache"), " ", w.Body)))
}

func Example() {
	ctx := context.Background()
	c, err := cache.Open(ctx, "memory://", cache.Config{}) // in production redis://…
	if err != nil {
		panic(err)
	}
	defer c.Close()

	status := "NEW"
	cached := httpcache.Middleware(c, httpcache.Config{TTL: time.Minute})
	changes := httpcache.InvalidateOn(c, httpcache.Invalidation{
		Patterns: func(r *http.Request) []string { return []string{httpcache.Pattern(r.URL.Path)} },
	})
	mux := http.NewServeMux()
	mux.Handle("GET /orders/{id}", cached(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, status)
	})))
	mux.Handle("PUT /orders/{id}", changes(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		status = "PAID"
	})))

	show(mux, http.MethodGet, "/orders/42")
	show(mux, http.MethodGet, "/orders/42")
	show(mux, http.MethodPut, "/orders/42")
	show(mux, http.MethodGet, "/orders/42")
	// Output:
	// GET /orders/42: MISS NEW
	// GET /orders/42: HIT NEW
	// PUT /orders/42:
	// GET /orders/42: MISS PAID
}

func ExampleMiddleware() {
	c, _ := cache.Open(context.Background(), "memory://", cache.Config{})
	defer c.Close()

	h := httpcache.Middleware(c, httpcache.Config{
		TTL:    time.Minute,
		VaryBy: []string{"Accept-Language"},
	})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.URL.Query().Get("page"))
	}))
	show(h, http.MethodGet, "/orders?page=1&size=10")
	show(h, http.MethodGet, "/orders?size=10&page=1")
	show(h, http.MethodHead, "/orders?size=10&page=1")
	show(h, http.MethodGet, "/orders?page=2&size=10")
	show(h, http.MethodPost, "/orders?page=1&size=10")
	// Output:
	// GET /orders?page=1&size=10: MISS 1
	// GET /orders?size=10&page=1: HIT 1
	// HEAD /orders?size=10&page=1: HIT
	// GET /orders?page=2&size=10: MISS 2
	// POST /orders?page=1&size=10: BYPASS 1
}

func ExampleTag() {
	ctx := context.Background()
	c, _ := cache.Open(ctx, "memory://", cache.Config{})
	defer c.Close()

	h := httpcache.Middleware(c, httpcache.Config{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client := 7 // the one who is logged in, say
		if err := httpcache.Tag(r.Context(), fmt.Sprint("client:", client)); err != nil {
			fmt.Println(err) // the response is not stored
		}
		fmt.Fprint(w, "orders, queried now")
	}))
	show(h, http.MethodGet, "/orders")
	show(h, http.MethodGet, "/orders")
	_ = c.InvalidateTags(ctx, "client:7")
	show(h, http.MethodGet, "/orders")
	// Output:
	// GET /orders: MISS orders, queried now
	// GET /orders: HIT orders, queried now
	// GET /orders: MISS orders, queried now
}

func ExampleNoStore() {
	c, _ := cache.Open(context.Background(), "memory://", cache.Config{})
	defer c.Close()

	h := httpcache.Middleware(c, httpcache.Config{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		httpcache.NoStore(r.Context())
		fmt.Fprint(w, "a random number")
	}))
	show(h, http.MethodGet, "/dice")
	show(h, http.MethodGet, "/dice")
	// Output:
	// GET /dice: MISS a random number
	// GET /dice: BYPASS a random number
}

func ExampleInvalidateOn() {
	c, _ := cache.Open(context.Background(), "memory://", cache.Config{})
	defer c.Close()
	tag := func(*http.Request) []string { return []string{"orders"} }

	list := httpcache.Middleware(c, httpcache.Config{Tags: tag})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "all orders")
	}))
	create := httpcache.InvalidateOn(c, httpcache.Invalidation{Tags: tag})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
	}))
	show(list, http.MethodGet, "/orders")
	show(list, http.MethodGet, "/orders")
	show(create, http.MethodPost, "/orders")
	show(list, http.MethodGet, "/orders")
	// Output:
	// GET /orders: MISS all orders
	// GET /orders: HIT all orders
	// POST /orders:
	// GET /orders: MISS all orders
}

func ExamplePattern() {
	fmt.Println(httpcache.Pattern("/orders/42"))
	// Output: api:/orders/42:*
}

func ExampleKey() {
	r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "http://shop.test/orders?page=1", http.NoBody)
	fmt.Println(httpcache.Key(r, "Accept-Language"))
	// Output: api:/orders:jqmkdlvirabzpvgq5uebjghaehvubpo2
}
