package cache_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// BenchmarkApply measures how many keys a second one applier removes from one
// Redis, with every check and the counter.
func BenchmarkApply(b *testing.B) {
	for _, size := range []int{1, 100, 10_000} {
		for _, existed := range []bool{false, true} {
			b.Run(fmt.Sprintf("keys=%d/existed=%v", size, existed), func(b *testing.B) {
				server := servertest.Redis(b)
				a, err := cache.OpenApplier(server.URL(), cache.ApplierConfig{Name: "bench"})
				if err != nil {
					b.Fatal(err)
				}
				defer a.Close()
				if _, err := a.Load(b.Context()); err != nil {
					b.Fatal(err)
				}
				if err := a.TakeOver(b.Context(), position("bench", 1)); err != nil {
					b.Fatal(err)
				}
				keys := make([]string, size)
				for i := range keys {
					keys[i] = fmt.Sprintf("orders:client:%d", i)
				}
				batch := cache.Batch{Keys: keys, Ahead: 100, Epoch: "1:1:0", WantExisted: existed}
				b.ReportAllocs()
				for b.Loop() {
					if _, err := a.Apply(b.Context(), batch); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(size)*float64(b.N)/b.Elapsed().Seconds(), "keys/s")
			})
		}
	}
}

type benchOrder struct {
	ID       int64     `json:"id"`
	ClientID int64     `json:"client_id"`
	Status   string    `json:"status"`
	Total    string    `json:"total"`
	Created  time.Time `json:"created_at"`
}

// BenchmarkHit compares a hit with what it is made of.
func BenchmarkHit(b *testing.B) {
	server := servertest.Redis(b)
	rdb := server.Client()
	defer rdb.Close()
	c := cache.New(rdb, cache.Config{})
	defer c.Close()
	want := benchOrder{42, 9, "PAID", "129.90", time.Now()}
	if err := cache.Set(b.Context(), c, "order:42", want, time.Hour); err != nil {
		b.Fatal(err)
	}
	load := func(context.Context) (benchOrder, error) { return want, nil }
	b.Run("raw GET and Unmarshal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			raw, err := rdb.Get(b.Context(), "order:42").Bytes()
			if err != nil {
				b.Fatal(err)
			}
			var order benchOrder
			if err := json.Unmarshal(raw, &order); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("GetOrSet", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := cache.GetOrSet(b.Context(), c, "order:42", time.Hour, load); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkMiss measures a miss with a loader that costs nothing.
func BenchmarkMiss(b *testing.B) {
	server := servertest.Redis(b)
	rdb := server.Client()
	defer rdb.Close()
	c := cache.New(rdb, cache.Config{})
	defer c.Close()
	load := func(context.Context) (benchOrder, error) { return benchOrder{ID: 42}, nil }
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		if _, err := cache.GetOrSet(b.Context(), c, fmt.Sprintf("order:%d", i), time.Hour, load); err != nil {
			b.Fatal(err)
		}
	}
}
