package service_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/near"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

const (
	nearRows = 12
	// nearBound is how old a near value may be: the layer's patience, and the time
	// that a busy machine may take between an effect and its broadcast.
	nearBound    = nearPatience + 2*time.Second
	nearPatience = 2 * time.Second
)

// history is which version of each row had been applied at which moment.
type history struct {
	mu   sync.Mutex
	rows [nearRows + 1][]applied // guarded by mu
}

type applied struct {
	version int64
	at      time.Time
}

func (h *history) add(id int, version int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rows[id] = append(h.rows[id], applied{version, time.Now()})
}

// owed is the lowest version that a read begun at a moment may be served.
func (h *history) owed(id int, at time.Time) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := len(h.rows[id]) - 1; i >= 0; i-- {
		if h.rows[id][i].at.Add(nearBound).Before(at) {
			return h.rows[id][i].version
		}
	}
	return 0
}

// nearService is one service with a near cache, whose connection to NATS can be
// disturbed.
type nearService struct {
	link  *servertest.Proxy
	layer *near.Layer
	cache *cache.Cache
}

func (b *bundle) startNear() *nearService {
	b.t.Helper()
	s := &nearService{link: servertest.NewProxy(b.t, b.nats.Addr())}
	conn, err := nats.Connect("nats://"+s.link.Addr(),
		nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.Timeout(patience),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // expected here
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(conn.Close)
	// Entries live long: nothing but what is heard, or missed, removes them.
	if s.layer, err = near.New(conn, near.Config{Name: instance, TTL: time.Hour, Patience: nearPatience}); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = s.layer.Close() })
	if s.cache, err = cache.Open(b.t.Context(), b.redis.URL(), cache.Config{Source: instance, Near: s.layer}); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = s.cache.Close() })
	return s
}

func (b *bundle) version(ctx context.Context, s *nearService, id int) (int64, error) {
	return cache.GetOrSet(ctx, s.cache, orderKey(id), time.Hour, func(ctx context.Context) (version int64, err error) {
		err = b.db.QueryRow(ctx, `select version from orders where id = $1`, id).Scan(&version)
		return version, err
	})
}

// Three services with near caches see no version that was replaced longer ago
// than the bound, while rows change and their connections are held up, cut, and
// the NATS server restarts; and agree with the database in the end.
func TestNearCachesStayTrue(t *testing.T) {
	t.Parallel()
	b := newBundle(t, options{
		schema: fmt.Sprintf(`create table orders (id bigint primary key, version bigint not null);
			insert into orders select i, 0 from generate_series(1, %d) i`, nearRows),
		rules: on("orders", "order:{id}"),
		nats:  true,
	})
	r := b.start()
	b.settle(r)
	services := []*nearService{b.startNear(), b.startNear(), b.startNear()}
	sound := func() {
		t.Helper()
		servertest.Eventually(t, patience, func() (bool, string) {
			for i, s := range services {
				if stats := s.layer.Stats(); !stats.Sound {
					return false, fmt.Sprintf("the layer of service %d: %s", i, stats.Reason)
				}
			}
			return true, ""
		})
	}
	sound()

	var log history
	var reads, writes atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	var traffic sync.WaitGroup
	t.Cleanup(traffic.Wait)
	t.Cleanup(cancel)
	traffic.Go(func() {
		for ctx.Err() == nil {
			id := 1 + rand.IntN(nearRows)
			var version int64
			err := b.db.QueryRow(ctx, `update orders set version = version + 1 where id = $1 returning version`, id).Scan(&version)
			if err == nil {
				err = b.awaitApplied(ctx, services[0].cache)
			}
			if err != nil {
				if ctx.Err() == nil {
					t.Errorf("write: %v", err)
				}
				return
			}
			log.add(id, version)
			writes.Add(1)
		}
	})
	for i, s := range services {
		traffic.Go(func() {
			for ctx.Err() == nil {
				id := 1 + rand.IntN(nearRows)
				owed := log.owed(id, time.Now())
				switch got, err := b.version(ctx, s, id); {
				case err != nil && ctx.Err() == nil:
					t.Errorf("service %d: %v", i, err)
					return
				case err == nil && got < owed:
					t.Errorf("service %d is served version %d of order %d, though %d was applied more than %s ago", i, got, id, owed, nearBound)
					return
				}
				reads.Add(1)
				if !idle(ctx, 100*time.Microsecond) { // leave the machine to others
					return
				}
			}
		})
	}
	// lasting returns once what was applied after it was called is older than the
	// bound: whoever has missed it must not serve what was before.
	lasting := func(what string) {
		t.Helper()
		began, from := time.Now(), writes.Load()
		servertest.Eventually(t, patience, func() (bool, string) {
			n := writes.Load() - from
			return n > 10 && time.Since(began) > nearBound+time.Second, fmt.Sprintf("%s: %d writes applied", what, n)
		})
	}

	// Half open, each direction; then what waited arrives late, or never.
	for _, cut := range []bool{false, true} {
		services[0].link.Hold(servertest.ToClient)
		services[1].link.Hold(servertest.ToServer)
		lasting(fmt.Sprintf("half open, cut %v", cut))
		for _, s := range services[:2] {
			if cut {
				s.link.Cut()
			}
			s.link.Release(servertest.ToClient)
			s.link.Release(servertest.ToServer)
		}
		sound()
	}
	// A subscriber that takes more time than there is, again and again.
	for range 10 {
		services[2].link.Hold(servertest.ToClient)
		if !idle(ctx, 300*time.Millisecond) {
			break
		}
		services[2].link.Release(servertest.ToClient)
	}
	sound()
	if err := b.nats.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := b.nats.Start(ctx); err != nil {
		t.Fatal(err)
	}
	sound()
	lasting("after the restart of NATS")
	cancel()
	traffic.Wait()

	b.settle(r)
	sound()
	for i, s := range services {
		for id := 1; id <= nearRows; id++ {
			var want int64
			if err := b.db.QueryRow(t.Context(), `select version from orders where id = $1`, id).Scan(&want); err != nil {
				t.Fatal(err)
			}
			servertest.Eventually(t, patience, func() (bool, string) { // the broadcast may be on its way
				got, err := b.version(t.Context(), s, id)
				return err == nil && got == want, fmt.Sprintf("service %d has version %d of order %d, the database %d, %v", i, got, id, want, err)
			})
		}
		stats := s.cache.Stats()
		t.Logf("service %d: %d hits near, %d emptied", i, stats.NearHits, s.layer.Stats().Emptied)
		if stats.NearHits == 0 {
			t.Errorf("service %d was never served from its near cache", i)
		}
	}
	t.Logf("%d reads, %d writes", reads.Load(), writes.Load())
}

// awaitApplied waits until what is committed now has been applied.
func (b *bundle) awaitApplied(ctx context.Context, c *cache.Cache) error {
	token, err := cache.TokenFrom(ctx, b.db)
	if err != nil {
		return err
	}
	for {
		_, err := cache.Get[int](ctx, c, "nothing", cache.AtLeast(token), cache.OrStaleError())
		if errors.Is(err, cache.ErrMiss) {
			return nil
		}
		if !idle(ctx, time.Millisecond) {
			return ctx.Err()
		}
	}
}

// idle is false when ctx has ended.
func idle(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
