package ratelimit_test

import (
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/cache/ratelimit"
)

// ample is a limit that is never used up, so that each call takes something.
func ample(a ratelimit.Algorithm) ratelimit.Limit {
	return ratelimit.Limit{Max: 10_000_000, Window: time.Second, Algorithm: a}
}

// identifiers are what callers of a benchmark take turns with.
func identifiers(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fresh() + strconv.Itoa(i)
	}
	return ids
}

// BenchmarkRoundTrip is what all that asks Redis is measured by.
func BenchmarkRoundTrip(b *testing.B) {
	rdb := client(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := rdb.Ping(b.Context()).Err(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAllow(b *testing.B) {
	for _, store := range []string{"redis", "memory"} {
		for _, a := range algorithms {
			for _, n := range []int{1, 1000} {
				b.Run(store+"/"+a.String()+"/identifiers="+strconv.Itoa(n), func(b *testing.B) {
					url := "memory://"
					if store == "redis" {
						url = redisURL(b)
					}
					l, ids, limit := open(b, url, generous()), identifiers(n), ample(a)
					b.ReportAllocs()
					i := 0
					for b.Loop() {
						i++
						if r, err := l.Allow(b.Context(), ids[i%n], "/x", limit); err != nil || !r.Allowed {
							b.Fatal(r, err)
						}
					}
				})
			}
		}
	}
}

// BenchmarkAllowParallel is throughput: 16 callers for each processor.
func BenchmarkAllowParallel(b *testing.B) {
	for _, store := range []string{"redis", "memory"} {
		for _, a := range algorithms {
			b.Run(store+"/"+a.String(), func(b *testing.B) {
				url := "memory://"
				if store == "redis" {
					url = redisURL(b)
				}
				l, ids, limit := open(b, url, generous()), identifiers(1000), ample(a)
				var n atomic.Int64
				b.ReportAllocs()
				b.SetParallelism(16)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if r, err := l.Allow(b.Context(), ids[n.Add(1)%1000], "/x", limit); err != nil || !r.Allowed {
							b.Fatal(r, err)
						}
					}
				})
			})
		}
	}
}

// BenchmarkNewClient is a client as go-redis makes it, whose reads the context
// does not end.
func BenchmarkNewClient(b *testing.B) {
	s, err := shared.redis()
	if err != nil {
		b.Fatal(err)
	}
	rdb := redis.NewClient(&redis.Options{Addr: s.Addr()})
	defer rdb.Close()
	l, id, limit := ratelimit.New(rdb, generous()), fresh(), ample(ratelimit.GCRA)
	b.ReportAllocs()
	for b.Loop() {
		if r, err := l.Allow(b.Context(), id, "/x", limit); err != nil || !r.Allowed {
			b.Fatal(r, err)
		}
	}
}

func BenchmarkAllowAll(b *testing.B) {
	for _, n := range []int{2, 4} {
		b.Run("limits="+strconv.Itoa(n), func(b *testing.B) {
			l, id := open(b, redisURL(b), generous()), fresh()
			var limits []ratelimit.Limit
			for i := range n {
				limits = append(limits, ample(algorithms[i%3]).Named(strconv.Itoa(i)))
			}
			b.ReportAllocs()
			for b.Loop() {
				if rs, err := l.AllowAll(b.Context(), id, "/x", limits...); err != nil || !rs.Allowed() {
					b.Fatal(rs, err)
				}
			}
		})
	}
}

func BenchmarkRememberedDenial(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run("identifiers="+strconv.Itoa(n), func(b *testing.B) {
			l, ids, limit := open(b, redisURL(b), generous()), identifiers(n), ratelimit.PerHour(1)
			for _, id := range ids {
				allow(b, l, id, "/x", limit)
				allow(b, l, id, "/x", limit)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				if r, err := l.Allow(b.Context(), ids[i%n], "/x", limit); err != nil || r.Allowed {
					b.Fatal(r, err)
				}
			}
		})
	}
}
