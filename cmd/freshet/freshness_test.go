package main

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// What was written through one process is read through another, 10,000 times,
// and never in an older version (I7): the token travels in a header.
func TestReadYourWritesOverHTTP(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	p := runService(t, s.config, "")
	awaitActive(t, patience, p)
	s.settle(p)
	a, b := s.startInstance(), s.startInstance()
	const (
		times   = 10_000
		clients = 8
		rows    = 40 // few, so that clients meet on them
	)
	var done, older, cached atomic.Int64
	var group sync.WaitGroup
	for client := range clients {
		group.Go(func() {
			for i := range times / clients {
				path := fmt.Sprintf("/orders/%d", 1+(client*7+i)%rows)
				written, status, token, err := a.do(http.MethodPut, path, "")
				if err != nil || status != http.StatusOK || token == "" {
					t.Errorf("write: %d, %q, %v", status, token, err)
					return
				}
				read, status, _, err := b.do(http.MethodGet, path, token)
				if err != nil || status != http.StatusOK {
					t.Errorf("read: %d, %v", status, err)
					return
				}
				if read.Version < written.Version {
					older.Add(1)
				}
				done.Add(1)
				// Without a token the read may be older, and is served from the cache.
				if _, status, _, err = b.do(http.MethodGet, path, ""); err != nil || status != http.StatusOK {
					t.Errorf("read: %d, %v", status, err)
					return
				}
				cached.Add(1)
			}
		})
	}
	group.Wait()
	last, _, _, err := b.do(http.MethodGet, "/orders/1", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d writes read elsewhere, %d in an older version; %d loads for %d reads", done.Load(), older.Load(), last.Loads, done.Load()+cached.Load())
	if done.Load() != times || older.Load() != 0 {
		t.Errorf("%d of %d reads were older than what their client had written", older.Load(), times)
	}
	s.settle(p)
	for id := range rows {
		var version int64
		if err := s.db.QueryRow(t.Context(), `select version from orders where id = $1`, id+1).Scan(&version); err != nil {
			t.Fatal(err)
		}
		if got, _, _, err := b.do(http.MethodGet, fmt.Sprintf("/orders/%d", id+1), ""); err != nil || got.Version != version {
			t.Errorf("order %d, in the end: got %+v, %v, want version %d", id+1, got, err, version)
		}
	}
}

// A token is reached although nothing else is written: marks alone carry the
// watermark there.
func TestTokenIsReachedOnAnIdleDatabase(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	p := runService(t, s.config, "")
	awaitActive(t, patience, p)
	s.settle(p)
	c, err := cache.Open(t.Context(), s.redis.URL(), cache.Config{Source: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	var waits []time.Duration
	for i := range 30 {
		if _, err := s.db.Exec(t.Context(), `update orders set version = version + 1 where id = $1`, i+1); err != nil {
			t.Fatal(err)
		}
		token, err := cache.TokenFrom(t.Context(), s.db)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		reached(t, c, token)
		waits = append(waits, time.Since(began))
	}
	slices.Sort(waits)
	t.Logf("a token was reached after %s in the median, %s at most", waits[len(waits)/2].Round(time.Millisecond), waits[len(waits)-1].Round(time.Millisecond))
}

// reached waits until reads with the token are served from the cache again.
func reached(t *testing.T, c *cache.Cache, token cache.Token) {
	t.Helper()
	servertest.Eventually(t, patience, func() (bool, string) {
		_, err := cache.Get[int64](t.Context(), c, "nothing", cache.AtLeast(token), cache.OrStaleError())
		return errors.Is(err, cache.ErrMiss), fmt.Sprint(err)
	})
}

// While no invalidator works, reads with a bound go to the database or fail, and
// all others are served. When it is back, bounded reads are served again.
func TestBoundsWithoutAnInvalidator(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	runService(t, s.config, "consumer")
	v := runService(t, s.config, "invalidator")
	awaitActive(t, patience, v)
	s.settle(v)
	a, b := s.startInstance(), s.startInstance()
	get := func(query, token string) (answer, int) {
		t.Helper()
		got, status, _, err := b.do(http.MethodGet, "/orders/1"+query, token)
		if err != nil {
			t.Fatal(err)
		}
		return got, status
	}
	_, _, token, err := a.do(http.MethodPut, "/orders/1", "")
	if err != nil {
		t.Fatal(err)
	}
	served := func(query, token string) bool { // from the cache
		before, _ := get("", "")
		got, status := get(query, token)
		return status == http.StatusOK && got.Loads == before.Loads
	}
	servertest.Eventually(t, patience, func() (bool, string) {
		return served("", token) && served("?within=10s", ""), "bounded reads go to the database though all is well"
	})

	v.kill()
	written, _, token, err := a.do(http.MethodPut, "/orders/1", "")
	if err != nil {
		t.Fatal(err)
	}
	old, status := get("", "")
	if status != http.StatusOK || old.Version != written.Version-1 {
		t.Errorf("without a bound: got %+v, %d, want what is cached", old, status)
	}
	if got, status := get("", token); status != http.StatusOK || got.Version != written.Version || got.Loads != old.Loads+1 {
		t.Errorf("with a token: got %+v, %d, want version %d from the database", got, status, written.Version)
	}
	if _, status := get("?strict", token); status != http.StatusServiceUnavailable {
		t.Errorf("with a token, strict: got %d, want an error", status)
	}
	servertest.Eventually(t, patience, func() (bool, string) { // once the position is old enough
		_, status := get("?within=1s&strict", "")
		return status == http.StatusServiceUnavailable, fmt.Sprintf("within, strict: got %d, want an error", status)
	})
	if got, status := get("?within=1s", ""); status != http.StatusOK || got.Version != written.Version {
		t.Errorf("within: got %+v, %d, want version %d from the database", got, status, written.Version)
	}
	if got, status := get("", ""); status != http.StatusOK || got.Version != old.Version {
		t.Errorf("without a bound: got %+v, %d, want what is cached", got, status)
	}

	awaitActive(t, patience, runService(t, s.config, "invalidator"))
	servertest.Eventually(t, patience, func() (bool, string) {
		return served("", token) && served("?within=10s", ""), "bounded reads still go to the database"
	})
	if got, _ := get("", ""); got.Version != written.Version {
		t.Errorf("got %+v, want version %d", got, written.Version)
	}
}
