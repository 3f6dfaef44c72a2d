package near_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/near"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// BenchmarkGet compares a hit of the layer with one of the cache below it, used
// with and without a TTL.
func BenchmarkGet(b *testing.B) {
	keys := make([]string, 1024)
	for i := range keys {
		keys[i] = "order:client:" + strconv.Itoa(i)
	}
	value := any(&struct{ name string }{"Ada"})
	hit := func(b *testing.B, get func(key string) (any, bool)) {
		b.Helper()
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, ok := get(keys[i%len(keys)]); !ok {
				b.Fatal("missed")
			}
		}
	}

	b.Run("otter", func(b *testing.B) {
		c := otter.Must(&otter.Options[string, any]{MaximumSize: 10_000})
		for _, key := range keys {
			c.Set(key, value)
		}
		hit(b, c.GetIfPresent)
	})
	b.Run("otter with TTL", func(b *testing.B) {
		c := otter.Must(&otter.Options[string, any]{
			MaximumSize: 10_000, ExpiryCalculator: otter.ExpiryWriting[string, any](time.Hour),
		})
		defer c.StopAllGoroutines()
		for _, key := range keys {
			c.Set(key, value)
		}
		hit(b, c.GetIfPresent)
	})

	l := layer(b, servertest.NATS(b), withoutInvalidator, every(near.Every))
	sound(b, l)
	for _, tags := range []int{0, 3} {
		b.Run("near, "+strconv.Itoa(tags)+" tags", func(b *testing.B) {
			mark, _ := l.Mark()
			for i, key := range keys {
				names := make([]string, tags)
				for t := range names {
					names[t] = "tag:" + strconv.Itoa(t*i)
				}
				l.Put(key, cache.NearEntry{Value: value, Tags: names, TTL: time.Hour, Size: 100}, mark)
			}
			hit(b, l.Get)
		})
	}
	b.Run("near, miss", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, ok := l.Get("order:none"); ok {
				b.Fatal("hit")
			}
		}
	})
}

// BenchmarkPut is what a fill costs beside the round trip to the store.
func BenchmarkPut(b *testing.B) {
	l := layer(b, servertest.NATS(b), withoutInvalidator, every(near.Every))
	sound(b, l)
	keys := make([]string, 1024)
	for i := range keys {
		keys[i] = "order:client:" + strconv.Itoa(i)
	}
	e := cache.NearEntry{Value: 1, Tags: []string{"client:7"}, TTL: time.Hour, Size: 100}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		mark, _ := l.Mark()
		l.Put(keys[i%len(keys)], e, mark)
	}
}

// BenchmarkInvalidatePattern looks at ten thousand keys of which none matches.
func BenchmarkInvalidatePattern(b *testing.B) {
	l := layer(b, servertest.NATS(b), withoutInvalidator, every(near.Every))
	sound(b, l)
	mark, _ := l.Mark()
	for i := range 10_000 {
		l.Put("order:client:"+strconv.Itoa(i), cache.NearEntry{Value: 1, TTL: time.Hour}, mark)
	}
	i := cache.Invalidation{Patterns: []string{"order:*:x"}}
	b.ReportAllocs()
	for b.Loop() {
		l.Invalidated(i)
	}
}
