package cache_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// commandCounter counts a client's commands by name.
type commandCounter struct {
	mu     sync.Mutex
	byName map[string]int // guarded by mu
}

func (c *commandCounter) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *commandCounter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (c *commandCounter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.mu.Lock()
		c.byName[cmd.Name()]++
		c.mu.Unlock()
		return next(ctx, cmd)
	}
}

// take returns how many GETs and calls of scripts there were since it was called
// last.
func (c *commandCounter) take() (gets, scripts int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	gets, scripts = c.byName["get"], c.byName["evalsha"]
	c.byName = map[string]int{}
	return gets, scripts
}

// A hit is a GET and a miss a call of two scripts, also of keys that a cache sees
// for the first time, once it has seen how it is with them.
func TestCommandsOfHitsAndMisses(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	server := servertest.Redis(t)
	open := func() (*cache.Cache, *commandCounter) {
		rdb := server.Client()
		t.Cleanup(func() { _ = rdb.Close() })
		counter := &commandCounter{byName: map[string]int{}}
		rdb.AddHook(counter)
		c := cache.New(rdb, cache.Config{})
		t.Cleanup(func() { _ = c.Close() })
		return c, counter
	}
	read := func(c *cache.Cache, first, count int) {
		t.Helper()
		for i := first; i < first+count; i++ {
			got, err := cache.GetOrSet(ctx, c, fmt.Sprintf("order:%d", i), time.Hour, func(context.Context) (int, error) { return i, nil })
			if got != i || err != nil {
				t.Fatalf("got %d, %v, want %d", got, err, i)
			}
		}
	}
	expect := func(what string, counter *commandCounter, wantGets, wantScripts, slack int) {
		t.Helper()
		gets, scripts := counter.take()
		if gets < wantGets-slack || gets > wantGets+slack || scripts < wantScripts-slack || scripts > wantScripts+slack {
			t.Errorf("%s: %d GETs and %d scripts, want about %d and %d", what, gets, scripts, wantGets, wantScripts)
		}
	}
	const many = 200
	first, counter := open()
	read(first, 0, 1)
	counter.take() // the scripts have been loaded
	read(first, 1, many)
	expect("misses of new keys", counter, 0, 2*many, 0)
	read(first, 1, many)
	expect("hits of what it has stored itself", counter, many, 0, 12) // keys may share a place

	other, counter := open()
	read(other, 0, many)
	expect("hits of what another process has stored", counter, many, 0, 12)
	if err := other.Delete(ctx, "order:7", "order:8"); err != nil {
		t.Fatal(err)
	}
	counter.take()
	read(other, 7, 2)
	expect("misses of what it has deleted", counter, 0, 4, 0)
	read(other, many+1, many)
	gets, scripts := counter.take()
	if gets > 20 || scripts != 2*many {
		t.Errorf("misses after many hits: %d GETs and %d scripts, want few and %d", gets, scripts, 2*many)
	}
	stats := other.Stats()
	if stats.Hits != many || stats.Misses != many+2 {
		t.Errorf("%d hits and %d misses, want %d and %d", stats.Hits, stats.Misses, many, many+2)
	}
}
