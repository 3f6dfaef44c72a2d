package cache_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

func token(t *testing.T, text string) cache.Token {
	t.Helper()
	parsed, err := cache.ParseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// at is a position of system 73, timeline 1.
func at(lsn cache.LSN, age time.Duration) cache.Position {
	return cache.Position{
		Stream: "s", Seq: uint64(lsn), Epoch: "73:1:0", LSN: lsn, Time: time.Now().Add(-age), Owner: "a", Rules: "r",
	}
}

func TestBoundsNeedProof(t *testing.T) {
	t.Parallel()
	begun := time.Now()
	held := at(0x200, 0)
	held.Hold = 0x50
	foreign := at(0x200, 0)
	foreign.Epoch = "74:1:0"
	promoted := at(0x200, 0)
	promoted.Epoch = "73:2:0"
	for name, test := range map[string]struct {
		position *cache.Position
		bound    cache.ReadOption
		fresh    bool
	}{
		"no position":               {nil, cache.AtLeast(token(t, "73:00000001:0/100")), false},
		"no position, any token":    {nil, cache.AtLeast(cache.Token{}), false},
		"token below":               {new(at(0x200, 0)), cache.AtLeast(token(t, "73:00000001:0/100")), true},
		"token reached":             {new(at(0x200, 0)), cache.AtLeast(token(t, "73:00000001:0/200")), true},
		"token above":               {new(at(0x200, 0)), cache.AtLeast(token(t, "73:00000001:0/201")), false},
		"token of another system":   {new(foreign), cache.AtLeast(token(t, "73:00000001:0/100")), false},
		"token of another timeline": {new(promoted), cache.AtLeast(token(t, "73:00000001:0/100")), false},
		"token above the hold":      {new(held), cache.AtLeast(token(t, "73:00000001:0/100")), false},
		"token below the hold":      {new(held), cache.AtLeast(token(t, "73:00000001:0/40")), true},
		"any token":                 {new(at(0x200, time.Hour)), cache.AtLeast(cache.Token{}), true},
		"young enough":              {new(at(0x200, time.Second)), cache.Within(100 * time.Second), true},
		"too old":                   {new(at(0x200, 120*time.Second)), cache.Within(100 * time.Second), false},
		"young, but for the clocks": {new(at(0x200, 80*time.Second)), cache.Within(100 * time.Second), false},
		"young, but a flush is due": {new(held), cache.Within(100 * time.Second), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onSharedStores(t, cache.Config{ClockSkew: 50 * time.Second}, func(b *backend) {
				t, ctx := b.t, b.t.Context()
				source := fmt.Sprintf("src%x", b.cfg.Prefix)
				c := b.withSource(source)
				mustSet(t, c, "k")
				if test.position != nil {
					p := *test.position
					p.Time = p.Time.Add(time.Since(begun)) // the test has waited for its turn
					mustTakeOver(t, b.another(t, cache.ApplierConfig{Name: source}), p)
				}
				got, err := cache.Get[string](ctx, c, "k", test.bound)
				if fresh := err == nil; fresh != test.fresh || !fresh && !errors.Is(err, cache.ErrMiss) {
					t.Errorf("get: got %q, %v, want fresh %v", got, err, test.fresh)
				}
				_, err = cache.Get[string](ctx, c, "k", test.bound, cache.OrStaleError())
				if fresh := err == nil; fresh != test.fresh || !fresh && !errors.Is(err, cache.ErrStale) {
					t.Errorf("get or stale: got %v, want fresh %v", err, test.fresh)
				}
				many, err := cache.GetMany[string](ctx, c, []string{"k", "not there"}, test.bound)
				if _, fresh := many["k"]; err != nil || fresh != test.fresh || len(many) > 1 {
					t.Errorf("get many: got %v, %v, want fresh %v", many, err, test.fresh)
				}
				got, err = cache.GetOrSet(ctx, c, "k", time.Minute, constant("loaded"), test.bound)
				if err != nil || (got != "loaded") != test.fresh {
					t.Errorf("get or set: got %q, %v, want fresh %v", got, err, test.fresh)
				}
				_, err = cache.GetOrSet(ctx, c, "k", time.Minute, constant("loaded"), test.bound, cache.OrStaleError())
				if fresh := err == nil; fresh != test.fresh || !fresh && !errors.Is(err, cache.ErrStale) {
					t.Errorf("get or set or stale: got %v, want fresh %v", err, test.fresh)
				}
				// What was there was not replaced: nobody held a lease for it.
				if got, err := cache.Get[string](ctx, c, "k"); got != "value of k" || err != nil {
					t.Errorf("afterwards: got %q, %v", got, err)
				}
				// What is not there is stored, under a lease.
				if _, err := cache.GetOrSet(ctx, c, "cold", time.Minute, constant("loaded"), test.bound); err != nil {
					t.Error(err)
				}
				if !present(t, c, "cold")["cold"] {
					t.Error("a cold key was not stored")
				}
			})
		})
	}
}

// withSource opens another cache over the same store, kept fresh by source.
func (b *backend) withSource(source string) *cache.Cache {
	b.t.Helper()
	cfg := b.cfg
	cfg.Source = source
	if b.rdb == nil {
		return b.cache.WithConfig(cfg)
	}
	c, err := cache.Open(b.t.Context(), b.url, cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestBoundWithoutSourceLoads(t *testing.T) {
	t.Parallel()
	b := open(t, "memory://", nil, cache.Config{})
	mustSet(t, b.cache, "k")
	got, err := cache.GetOrSet(t.Context(), b.cache, "k", time.Minute, constant("loaded"), cache.Within(time.Hour))
	if err != nil || got != "loaded" {
		t.Errorf("got %q, %v, want loaded", got, err)
	}
}

// TestBoundsWithoutPositionWarn: that no bound can be proven, as with another
// instance's name, is said once, and again when a position has been lost.
func TestBoundsWithoutPositionWarn(t *testing.T) {
	t.Parallel()
	log := &logged{}
	logger := slog.New(slog.NewTextHandler(log, nil))
	ask := func(c *cache.Cache) {
		t.Helper()
		for range 3 {
			if _, err := cache.Get[int](t.Context(), c, "k", cache.Within(time.Hour)); !errors.Is(err, cache.ErrMiss) {
				t.Fatal(err)
			}
		}
	}
	ask(open(t, "memory://", nil, cache.Config{Logger: logger}).cache)
	log.want(t, "no Config.Source", 1)

	c := open(t, "memory://", nil, cache.Config{Source: "shop", Logger: logger}).cache
	ask(c)
	log.want(t, "source=shop", 1)
	a, err := c.Applier(cache.ApplierConfig{Name: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	p := position("me", 1)
	p.Time = time.Now()
	mustTakeOver(t, a, p)
	ask(c)
	log.want(t, "source=shop", 1)
	if _, err := cache.Get[int](t.Context(), c, "k", cache.AtLeast(token(t, "74:00000001:0/1"))); !errors.Is(err, cache.ErrMiss) {
		t.Fatal(err)
	}
	log.want(t, "source=shop", 1) // behind, though not missing
}

// logged is a log to look at.
type logged struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) has(s string, n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), s) == n
}

func (l *logged) want(t *testing.T, s string, n int) {
	t.Helper()
	if !l.has(s, n) {
		t.Errorf("not %d times %q in the log:\n%s", n, s, l.text.String())
	}
}

// TestKnownAbsentIsNoProof: a bounded read asks the database.
func TestKnownAbsentIsNoProof(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t := b.t
		if _, err := cache.GetOrSet(t.Context(), b.cache, "k", time.Minute, failing(cache.ErrNotFound)); !errors.Is(err, cache.ErrNotFound) {
			t.Fatal(err)
		}
		got, err := cache.GetOrSet(t.Context(), b.cache, "k", time.Minute, constant("there"), cache.Within(time.Second))
		if err != nil || got != "there" {
			t.Errorf("got %q, %v, want there", got, err)
		}
	})
}

// TestBoundedReadSharesOnlyLaterLoads: each caller's value is of a load that
// began after its call, and there are not as many loads as callers.
func TestBoundedReadSharesOnlyLaterLoads(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t := b.t
		var loads, version atomic.Int64
		var wg sync.WaitGroup
		for range 40 {
			wg.Go(func() {
				for range 10 {
					called := version.Add(1)
					got, err := cache.GetOrSet(t.Context(), b.cache, "k", time.Minute, func(ctx context.Context) (int64, error) {
						loads.Add(1)
						read := version.Load()
						return read, pause(ctx, 5*time.Millisecond)
					}, cache.Within(time.Second))
					if err != nil || got < called {
						t.Errorf("got version %d, %v, want at least %d", got, err, called)
					}
				}
			})
		}
		wg.Wait()
		if n := loads.Load(); n > 200 {
			t.Errorf("400 calls made %d loads", n)
		}
	})
}

// TestTokenFromPostgres: a token is reached by a commit's own position, is
// refused too early, and survives as text.
func TestTokenFromPostgres(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pg := servertest.Postgres(t)
	conn, err := pgx.Connect(ctx, pg.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	exec("create table t (id int); create role plain login")
	before, err := cache.TokenFrom(ctx, conn)
	if err != nil {
		t.Fatal(err)
	}
	if again := token(t, before.String()); again != before || before == (cache.Token{}) {
		t.Errorf("as text: got %v, want %v", again, before)
	}
	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cache.TokenFrom(ctx, tx); err != nil {
		t.Errorf("in a transaction that has only read: %v", err)
	}
	if _, err := tx.Exec(ctx, "insert into t values (1)"); err != nil {
		t.Fatal(err)
	}
	if got, err := cache.TokenFrom(ctx, tx); err == nil {
		t.Errorf("in a transaction that has written: got %v, want an error", got)
	}
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	exec("set role plain")
	after, err := cache.TokenFrom(ctx, conn)
	if err != nil {
		t.Fatalf("as a role without rights: %v", err)
	}
	exec("reset role")
	var system string
	if err := conn.QueryRow(ctx, "select system_identifier::text from pg_control_system()").Scan(&system); err != nil {
		t.Fatal(err)
	}
	// A position between the two has reached the one and not the other.
	b := open(t, "memory://", nil, cache.Config{Source: "shop"})
	a, err := b.cache.Applier(cache.ApplierConfig{Name: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	mustSet(t, b.cache, "k")
	p := at(lsnOf(t, before), 0)
	p.Epoch = system + ":1:0"
	mustTakeOver(t, a, p)
	if _, err := cache.Get[string](ctx, b.cache, "k", cache.AtLeast(before)); err != nil {
		t.Errorf("token of before: %v", err)
	}
	if _, err := cache.Get[string](ctx, b.cache, "k", cache.AtLeast(after)); !errors.Is(err, cache.ErrMiss) {
		t.Errorf("token of after: got %v, want ErrMiss", err)
	}
	// On a server that has just begun a page, the token stays below the header.
	exec("select pg_switch_wal()")
	idle, err := cache.TokenFrom(ctx, conn)
	if err != nil {
		t.Fatal(err)
	}
	if offset := lsnOf(t, idle) % 8192; offset != 0 && offset <= 40 {
		t.Errorf("token %v stands in a page header", idle)
	}
}

func lsnOf(t *testing.T, tok cache.Token) cache.LSN {
	t.Helper()
	text := tok.String()
	for i := len(text) - 1; ; i-- {
		if text[i] == ':' {
			lsn, err := cache.ParseLSN(text[i+1:])
			if err != nil {
				t.Fatal(err)
			}
			return lsn
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add("73:00000001:0/1A2B3C8")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := cache.ParseToken(text)
		if err != nil {
			return
		}
		again, err := cache.ParseToken(parsed.String())
		if err != nil || again != parsed {
			t.Errorf("%q: got %v, %v, want %v", text, again, err, parsed)
		}
	})
}

func TestClearNeedsAPrefix(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t := b.t
		mustSet(t, b.cache, "a", "b")
		swept, err := b.cache.Clear(t.Context())
		if err != nil || swept.Removed != 2 {
			t.Errorf("got %+v, %v, want 2 removed", swept, err)
		}
	})
	b := open(t, "memory://", nil, cache.Config{})
	if _, err := b.cache.Clear(t.Context()); !errors.Is(err, cache.ErrNoPrefix) {
		t.Errorf("without a prefix: got %v, want ErrNoPrefix", err)
	}
}

// TestBoundedReadsGetNoExpiredValue: where a loader fails, a read with a bound
// fails too, for whoever shares the load may have a higher bound.
func TestBoundedReadsGetNoExpiredValue(t *testing.T) {
	t.Parallel()
	onSharedStores(t, cache.Config{}, func(b *backend) {
		t, ctx := b.t, b.t.Context()
		source := fmt.Sprintf("src%x", b.cfg.Prefix)
		c := b.withSource(source)
		mustTakeOver(t, b.another(t, cache.ApplierConfig{Name: source}), at(0x200, 0))
		grace := cache.WithFailSafe(time.Hour)
		if err := cache.Set(ctx, c, "stock:1", 7, time.Millisecond, grace); err != nil {
			t.Fatal(err)
		}
		servertest.Eventually(t, time.Minute, func() (bool, string) {
			_, err := cache.Get[int](ctx, c, "stock:1")
			return errors.Is(err, cache.ErrMiss), fmt.Sprint(err)
		})
		boom := errors.New("boom")
		reached, above := cache.AtLeast(token(t, "73:00000001:0/100")), cache.AtLeast(token(t, "73:00000001:0/900"))
		// The first load keeps the second from beginning until the third call has
		// come to share that.
		begun, finish, ended := make(chan struct{}), make(chan struct{}), make(chan error, 3)
		call := func(bound cache.ReadOption, load func()) {
			got, err := cache.GetOrSet(ctx, c, "stock:1", time.Minute, func(context.Context) (int, error) {
				load()
				return 0, boom
			}, bound, grace)
			if err == nil {
				t.Errorf("got the expired value %d", got)
			}
			ended <- err
		}
		go call(reached, func() { close(begun); <-finish })
		<-begun
		misses := c.Stats().Misses
		go call(reached, func() {})
		servertest.Eventually(t, time.Minute, func() (bool, string) { return c.Stats().Misses > misses, "the second call" })
		go call(above, func() {})
		servertest.Eventually(t, time.Minute, func() (bool, string) { return c.Stats().Misses > misses+1, "the third call" })
		close(finish)
		for range 3 {
			if err := <-ended; !errors.Is(err, boom) {
				t.Errorf("got %v, want boom", err)
			}
		}
		many, err := cache.GetOrSetMany(ctx, c, []int{1}, stockKey, time.Minute, func(context.Context, []int) (map[int]int, error) {
			return nil, boom
		}, reached, grace)
		if !errors.Is(err, boom) || len(many) > 0 {
			t.Errorf("batch: got %v, %v, want boom", many, err)
		}
	})
}

// TestBoundedReadFindsTheMastersAnew: a master that cannot be reached is not
// asked for ever, as it may have been replaced.
func TestBoundedReadFindsTheMastersAnew(t *testing.T) {
	t.Parallel()
	cluster, err := shared.cluster()
	if err != nil {
		t.Fatal(err)
	}
	alive := cluster.Client()
	defer alive.Close()
	dead := servertest.FreeAddr(t)
	var asked atomic.Int64
	client := redis.NewClusterClient(&redis.ClusterOptions{
		DialerRetries: 1,
		ClusterSlots: func(ctx context.Context) ([]redis.ClusterSlot, error) {
			slots, err := alive.ClusterSlots(ctx).Result() //nolint:staticcheck // as the library does
			if asked.Add(1) == 1 {
				for i := range slots {
					slots[i].Nodes[0].Addr = dead
				}
			}
			return slots, err
		},
	})
	defer client.Close()
	c := cache.New(client, cache.Config{Source: "nobody", Prefix: t.Name() + ":"})
	defer c.Close()
	if _, err := cache.Get[string](t.Context(), c, "k", cache.AtLeast(cache.Token{})); !errors.Is(err, cache.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable: the master is dead", err)
	}
	if _, err := cache.Get[string](t.Context(), c, "k", cache.AtLeast(cache.Token{})); !errors.Is(err, cache.ErrMiss) {
		t.Errorf("got %v, want ErrMiss: there is another master", err)
	}
}

// TestEveryBoundHolds: a later bound of a call does not take back an earlier one.
func TestEveryBoundHolds(t *testing.T) {
	t.Parallel()
	b := open(t, "memory://", nil, cache.Config{})
	c := b.withSource("bounds")
	mustTakeOver(t, b.another(t, cache.ApplierConfig{Name: "bounds"}), at(0x200, time.Minute))
	mustSet(t, c, "k")
	reached, above := cache.AtLeast(token(t, "73:00000001:0/100")), cache.AtLeast(token(t, "73:00000001:0/900"))
	old, young := cache.Within(time.Hour), cache.Within(time.Second)
	for name, test := range map[string]struct {
		bounds []cache.ReadOption
		fresh  bool
	}{
		"both met":           {[]cache.ReadOption{reached, old}, true},
		"token, then higher": {[]cache.ReadOption{reached, above}, false},
		"token, then lower":  {[]cache.ReadOption{above, reached}, false},
		"age, then less":     {[]cache.ReadOption{old, young}, false},
		"age, then more":     {[]cache.ReadOption{young, old}, false},
	} {
		if _, err := cache.Get[string](t.Context(), c, "k", test.bounds...); (err == nil) != test.fresh {
			t.Errorf("%s: got %v, want fresh %v", name, err, test.fresh)
		}
	}
}
