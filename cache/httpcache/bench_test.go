package httpcache_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/httpcache"
)

// discard is the writer of a client that reads nothing.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header            { return d.header }
func (d *discard) WriteHeader(int)                {}
func (d *discard) Write(part []byte) (int, error) { return len(part), nil }

// BenchmarkHit answers from the cache; "tagged" entries need their tags' generations
// too. BenchmarkGet is the share of the cache itself in it.
func BenchmarkHit(b *testing.B) {
	tags := func(*http.Request) []string { return []string{"a"} }
	for _, size := range []int{1 << 10, 64 << 10} {
		for _, cfg := range []httpcache.Config{{}, {Tags: tags}} {
			for _, store := range []string{"memory", "redis"} {
				kind := "plain"
				if cfg.Tags != nil {
					kind = "tagged"
				}
				b.Run(fmt.Sprintf("%s/%s/%dKiB", store, kind, size>>10), func(b *testing.B) {
					h := httpcache.Middleware(stores()[store](b), cfg)(&origin{serve: func(w http.ResponseWriter, _ *http.Request) {
						w.Header().Set("Content-Type", "application/json")
						_, _ = w.Write(make([]byte, size))
					}})
					r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/orders?page=1&size=20", http.NoBody)
					h.ServeHTTP(httptest.NewRecorder(), r)
					w := &discard{header: http.Header{}}
					b.ReportAllocs()
					for b.Loop() {
						clear(w.header)
						h.ServeHTTP(w, r)
					}
					if got := w.header.Get("X-Cache"); got != "HIT" {
						b.Fatalf("got %s", got)
					}
				})
			}
		}
	}
}

// BenchmarkGet reads a string of the same size.
func BenchmarkGet(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		for _, store := range []string{"memory", "redis"} {
			b.Run(fmt.Sprintf("%s/%dKiB", store, size>>10), func(b *testing.B) {
				c := stores()[store](b)
				if err := cache.Set(b.Context(), c, "k", strings.Repeat("x", size), defaultTTL); err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				for b.Loop() {
					if _, err := cache.Get[string](b.Context(), c, "k"); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
