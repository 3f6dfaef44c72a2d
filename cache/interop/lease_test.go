package interop_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache"
)

// lease takes the lease of a key, as a loading call does.
func lease(t *testing.T, c *cache.Cache, key string) cache.Lease {
	t.Helper()
	l, err := c.Lease(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if !l.Held() {
		t.Fatalf("the lease of %s is not to be had", key)
	}
	return l
}

func fill(t *testing.T, l cache.Lease, value any, want bool) {
	t.Helper()
	if stored, err := l.Fill(t.Context(), value, time.Minute); stored != want || err != nil {
		t.Errorf("fill: got %v, %v, want %v", stored, err, want)
	}
}

// absent fails the test unless a key is to ioredis as if it were not there, and
// the only key that is there is its lease.
func (c ioredis) absent(t *testing.T, key string) {
	t.Helper()
	c.gives(t, []any{nil, 0, -2, 0, []string{}, []string{cache.LeaseKey(key)}},
		action{"read", key}, action{"exists", key}, action{"pttl", key}, action{"del", key},
		action{"keys", "[^f]*"}, action{"keys", "*"})
}

func TestLeasedKeyLooksAbsent(t *testing.T) {
	t.Parallel()
	for _, key := range keys {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			s := openShop(t)
			l := lease(t, s.cache, key)
			s.ioredis.absent(t, key)
			if got := redisCLI(t, s.server, "GET", key); got != "" {
				t.Errorf("redis-cli: got %q, want nothing", got)
			}
			fill(t, l, newOrder(1), true) // reading and deleting nothing has not disturbed it
			s.ioredis.reads(t, key, newOrder(1))
		})
	}
}

func TestKnownAbsentLooksAbsent(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	load := func(context.Context) (order, error) { return order{}, cache.ErrNotFound }
	get := func() (order, error) {
		return cache.GetOrSet(t.Context(), s.cache, "k", time.Minute, load, cache.WithNegativeTTL(time.Hour))
	}
	if _, err := get(); !errors.Is(err, cache.ErrNotFound) {
		t.Fatalf("got %v, want ErrNotFound", err)
	}
	s.ioredis.absent(t, "k")
	s.ioredis.do(t, action{"write", "k", newOrder(1), 60})
	if got, err := get(); got.ID != 1 || err != nil {
		t.Errorf("got %+v, %v, want what ioredis has written", got, err)
	}
}

func TestIoredisInvalidatesDuringALoad(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	l := lease(t, s.cache, "k")
	// A lease was there, and no value.
	s.ioredis.gives(t, []any{[]int{1, 0}}, action{"invalidate", "k"})
	fill(t, l, newOrder(1), false)
	s.ioredis.reads(t, "k", nil)

	l = lease(t, s.cache, "k")
	s.ioredis.gives(t, []any{[]any{1, "OK"}}, action{"replace", "k", newOrder(2), 60})
	fill(t, l, newOrder(1), false)
	expect(t, s.cache, "k", newOrder(2))
}

// A plain DEL is an invalidation only where nobody loads the key: the fill that
// comes later may store what was read before. Where Freshet applies the changes
// of the tables it invalidates the key again; who does without has to remove
// the lease too.
func TestPlainDeleteDoesNotVoidALoad(t *testing.T) {
	t.Parallel()
	s := openShop(t)
	l := lease(t, s.cache, "k")
	s.ioredis.gives(t, []any{0}, action{"del", "k"})
	fill(t, l, newOrder(1), true)
	// One after the fill does remove the value.
	s.ioredis.gives(t, []any{newOrder(1), 1}, action{"read", "k"}, action{"del", "k"})
	expectMiss(t, s.cache, "k")
}
