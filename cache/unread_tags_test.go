package cache

import (
	"context"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// deafToTags is a store that cannot tell any tag's generation, as a Cluster
// without the master that has them. It gives in to whoever insists.
type deafToTags struct {
	*memoryStore
	asked atomic.Int64
}

func (s *deafToTags) read(ctx context.Context, q query) (answer, error) {
	if len(q.names) > 0 && s.asked.Add(1) < 100 {
		return answer{}, io.ErrUnexpectedEOF
	}
	return s.memoryStore.read(ctx, q)
}

// TestTagsThatCannotBeReadDelayNobody: an entry whose tags cannot be read is
// loaded past the cache at once.
func TestTagsThatCannotBeReadDelayNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newMemoryStore(0)
		cfg := Config{}
		cfg.setDefaults()
		c := newCache(s, cfg)
		defer c.Close()
		deaf := newCache(&deafToTags{memoryStore: s}, cfg)
		defer deaf.Close()
		for _, key := range []string{"a", "b"} {
			if err := Set(t.Context(), c, key, 1, time.Hour, WithTags("tag")); err != nil {
				t.Fatal(err)
			}
		}
		begun := time.Now()
		got, err := GetOrSet(t.Context(), deaf, "a", time.Minute, func(context.Context) (int, error) { return 2, nil })
		if got != 2 || err != nil {
			t.Errorf("got %v, %v, want what is loaded", got, err)
		}
		same := func(key string) string { return key }
		many, err := GetOrSetMany(t.Context(), deaf, []string{"b"}, same, time.Minute, func(context.Context, []string) (map[string]int, error) {
			return map[string]int{"b": 2}, nil
		})
		if many["b"] != 2 || err != nil {
			t.Errorf("batch: got %v, %v, want what is loaded", many, err)
		}
		if took := time.Since(begun); took > 0 {
			t.Errorf("it took %v", took)
		}
	})
}
