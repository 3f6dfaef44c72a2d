package cache_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// oneRedis is a server with an owner of its position.
func oneRedis(t *testing.T, opts ...servers.RedisOptions) (*servers.Redis, *backend) {
	t.Helper()
	server := servertest.Redis(t, opts...)
	b := open(t, server.URL(), server.Client(), cache.Config{})
	mustTakeOver(t, b.applier, position("a", 1))
	return server, b
}

func mustMove(t *testing.T, a *cache.Applier, p cache.Position) {
	t.Helper()
	if err := a.Move(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

// recovers goes on after ErrRolledBack and returns where.
func recovers(t *testing.T, a *cache.Applier, owner string) cache.Loaded {
	t.Helper()
	var loaded cache.Loaded
	// During a failover some nodes answer for a while as if there were none.
	servertest.Eventually(t, 30*time.Second, func() (bool, string) {
		var err error
		if loaded, err = a.Load(t.Context()); err != nil {
			return false, errorText(err)
		}
		p := loaded.Position
		p.Owner = owner
		if err = a.TakeOver(t.Context(), p); err == nil {
			_, err = a.Apply(t.Context(), cache.Batch{Keys: []string{"k"}})
		}
		return err == nil, errorText(err)
	})
	return loaded
}

func deletes(t *testing.T, a *cache.Applier) {
	t.Helper()
	mustApply(t, a, cache.Batch{Keys: []string{"k"}})
}

// TestOlderDumpIsNoticed: Redis comes back without the last deletes.
func TestOlderDumpIsNoticed(t *testing.T) {
	t.Parallel()
	for name, act := range map[string]struct {
		forgotten func(t *testing.T, a *cache.Applier) // after the dump
		next      func(ctx context.Context, a *cache.Applier) error
	}{
		"deletes without a move, then deletes": {
			deletes,
			func(ctx context.Context, a *cache.Applier) error {
				_, err := a.Apply(ctx, cache.Batch{Keys: []string{"other"}})
				return err
			},
		},
		"deletes without a move, then a move": {
			deletes,
			func(ctx context.Context, a *cache.Applier) error { return a.Move(ctx, position("a", 3)) },
		},
		"a sweep, then a move": {
			func(t *testing.T, a *cache.Applier) {
				t.Helper()
				if _, err := a.Sweep(t.Context(), []string{"k*"}); err != nil {
					t.Fatal(err)
				}
			},
			func(ctx context.Context, a *cache.Applier) error { return a.Move(ctx, position("a", 3)) },
		},
		"a move, then a move": {
			func(t *testing.T, a *cache.Applier) { t.Helper(); mustMove(t, a, position("a", 3)) },
			func(ctx context.Context, a *cache.Applier) error { return a.Move(ctx, position("a", 4)) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, b := oneRedis(t)
			mustApply(t, b.applier, cache.Batch{Keys: []string{"x"}})
			mustMove(t, b.applier, position("a", 2))
			mustSet(t, b.cache, "k")
			dump, err := server.SaveDump(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			act.forgotten(t, b.applier)
			if err := server.RestoreDump(t.Context(), dump); err != nil {
				t.Fatal(err)
			}
			// The connections of before break once; then the truth shows.
			err = again(t, func() error { return act.next(t.Context(), b.applier) })
			if !errors.Is(err, cache.ErrRolledBack) {
				t.Fatalf("got %v, want ErrRolledBack", err)
			}
			loaded := recovers(t, b.applier, "a")
			if got, want := loaded.Position.Seq, uint64(2); loaded.Verdict != cache.VerdictContinue || got != want {
				t.Errorf("got %v from %d, want to continue from %d", loaded.Verdict, got, want)
			}
		})
	}
}

// again repeats a call until it succeeds or fails with what is about the
// position.
func again(t *testing.T, call func() error) error {
	t.Helper()
	var err error
	servertest.Eventually(t, 20*time.Second, func() (bool, string) {
		err = call()
		settled := err == nil || errors.Is(err, cache.ErrRolledBack) || errors.Is(err, cache.ErrForeignOwner)
		return settled, "still " + errorText(err)
	})
	return err
}

func errorText(err error) string {
	if err == nil {
		return "no error"
	}
	return err.Error()
}

// TestDumpOfBeforeTakeOver: the state that comes back is a former owner's, or
// nobody's.
func TestDumpOfBeforeTakeOver(t *testing.T) {
	t.Parallel()
	for name, verdict := range map[string]cache.Verdict{"a former owner's": cache.VerdictContinue, "nobody's": cache.VerdictLost} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := servertest.Redis(t)
			b := open(t, server.URL(), server.Client(), cache.Config{})
			mustSet(t, b.cache, "k")
			if verdict == cache.VerdictContinue {
				mustTakeOver(t, b.another(t, cache.ApplierConfig{Name: "test"}), position("former", 1))
			}
			dump, err := server.SaveDump(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			mustTakeOver(t, b.applier, position("a", 1))
			mustApply(t, b.applier, cache.Batch{Keys: []string{"k"}})
			if err := server.RestoreDump(t.Context(), dump); err != nil {
				t.Fatal(err)
			}
			err = again(t, func() error {
				_, err := b.applier.Apply(t.Context(), cache.Batch{Keys: []string{"other"}})
				return err
			})
			if !errors.Is(err, cache.ErrRolledBack) {
				t.Fatalf("got %v, want ErrRolledBack", err)
			}
			if got := recovers(t, b.applier, "a").Verdict; got != verdict {
				t.Errorf("verdict: got %v, want %v", got, verdict)
			}
		})
	}
}

// TestRollbackBetweenLoadAndTakeOver: TakeOver must not cover up what Redis
// forgot after Load.
func TestRollbackBetweenLoadAndTakeOver(t *testing.T) {
	t.Parallel()
	server, b := oneRedis(t)
	dump, err := server.SaveDump(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mustApply(t, b.applier, cache.Batch{Keys: []string{"k"}})
	mustMove(t, b.applier, position("a", 5))
	young := b.another(t, cache.ApplierConfig{Name: "test"})
	loaded, err := young.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := server.RestoreDump(t.Context(), dump); err != nil {
		t.Fatal(err)
	}
	p := loaded.Position
	p.Owner = "young"
	if err := again(t, func() error { return young.TakeOver(t.Context(), p) }); !errors.Is(err, cache.ErrRolledBack) {
		t.Fatalf("got %v, want ErrRolledBack", err)
	}
	if got, want := recovers(t, young, "young").Position.Seq, uint64(1); got != want {
		t.Errorf("continues from %d, want %d", got, want)
	}
}

// TestPromotedReplicaThatLackedDeletes: a failover without the last deletes.
func TestPromotedReplicaThatLackedDeletes(t *testing.T) {
	t.Parallel()
	master := servertest.Redis(t)
	replica := servertest.Redis(t, servers.RedisOptions{ReplicaOf: master})
	var addr atomic.Pointer[string]
	point := func(s *servers.Redis) { a := s.Addr(); addr.Store(&a) }
	point(master)
	rdb := redis.NewClient(&redis.Options{MaxRetries: -1, Dialer: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, *addr.Load())
	}})
	defer rdb.Close()
	a, err := cache.NewApplier(rdb, cache.ApplierConfig{Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	mustTakeOver(t, a, position("a", 1))
	mustApply(t, a, cache.Batch{Keys: []string{"x"}})
	other := replica.Client()
	defer other.Close()
	servertest.Eventually(t, 20*time.Second, func() (bool, string) {
		got := other.Get(t.Context(), "freshet:counter:test").Val()
		want := rdb.Get(t.Context(), "freshet:counter:test").Val()
		return got == want && got != "", got + " on the replica, " + want + " on the master"
	})
	if err := other.ReplicaOf(t.Context(), "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	mustApply(t, a, cache.Batch{Keys: []string{"k"}})
	point(replica)
	if err := master.Kill(); err != nil {
		t.Fatal(err)
	}
	err = again(t, func() error { return a.Move(t.Context(), position("a", 2)) })
	if !errors.Is(err, cache.ErrRolledBack) {
		t.Fatalf("got %v, want ErrRolledBack", err)
	}
	if got := recovers(t, a, "a"); got.Verdict != cache.VerdictContinue || got.Position.Seq != 1 {
		t.Errorf("got %v from %d, want to continue from 1", got.Verdict, got.Position.Seq)
	}
}

// TestReplicaIsRefused: a server that was demoted answers, and changes nothing.
func TestReplicaIsRefused(t *testing.T) {
	t.Parallel()
	server, b := oneRedis(t)
	if err := b.rdb.(*redis.Client).ReplicaOf(t.Context(), "127.0.0.1", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.applier.Apply(t.Context(), cache.Batch{Keys: []string{"k"}}); err == nil || errors.Is(err, cache.ErrRolledBack) {
		t.Errorf("apply: got %v, want READONLY", err)
	}
	if err := b.applier.Move(t.Context(), position("a", 2)); err == nil {
		t.Error("move: got no error, want READONLY")
	}
	if _, err := b.applier.Load(t.Context()); err == nil || !strings.Contains(err.Error(), "replica") {
		t.Errorf("load: got %v, want an error that says replica", err)
	}
	if _, err := b.applier.Sweep(t.Context(), []string{"nothing:*"}); err == nil {
		t.Error("sweep: got no error")
	}
	_ = server
}

// TestEvictedBookkeepingIsWrittenAgain: allkeys-lru may take any key.
func TestEvictedBookkeepingIsWrittenAgain(t *testing.T) {
	t.Parallel()
	_, b := oneRedis(t)
	mustMove(t, b.applier, position("a", 2))
	keys := []string{"freshet:position:test", "freshet:counter:test", "freshet:ahead:test"}
	seq := uint64(3)
	for _, evicted := range [][]string{keys[:1], keys[1:2], keys} {
		for name, call := range map[string]func() error{
			"apply": func() error {
				_, err := b.applier.Apply(t.Context(), cache.Batch{Keys: []string{"k"}, Ahead: 10, Epoch: "e"})
				return err
			},
			"move":  func() error { return b.applier.Move(t.Context(), position("a", seq)) },
			"sweep": func() error { _, err := b.applier.Sweep(t.Context(), []string{"k*"}); return err },
		} {
			b.rdb.Del(t.Context(), evicted...)
			if err := call(); err != nil {
				t.Errorf("%s without %v: %v", name, evicted, err)
			}
			seq++
			if err := b.applier.Move(t.Context(), position("a", seq)); err != nil {
				t.Errorf("move after %s without %v: %v", name, evicted, err)
			}
		}
	}
	mustSet(t, b.cache, "k")
	b.rdb.Del(t.Context(), keys...)
	loaded, err := b.applier.Load(t.Context())
	if err != nil || loaded.Verdict != cache.VerdictContinue || loaded.Position.Seq != seq {
		t.Errorf("load by who knows the process: got %v from %d, %v, want to continue from %d",
			loaded.Verdict, loaded.Position.Seq, err, seq)
	}
	loaded, err = b.another(t, cache.ApplierConfig{Name: "test"}).Load(t.Context())
	if err != nil || loaded.Verdict != cache.VerdictLost {
		t.Errorf("load by somebody else: got %v, %v, want lost", loaded.Verdict, err)
	}
}

// TestForeignShapeIsLost: something else stands where the position belongs.
func TestForeignShapeIsLost(t *testing.T) {
	t.Parallel()
	server := servertest.Redis(t)
	b := open(t, server.URL(), server.Client(), cache.Config{})
	b.rdb.Set(t.Context(), "freshet:position:test", `{"version":9}`, 0)
	loaded := mustTakeOver(t, b.applier, position("a", 1))
	if loaded.Verdict != cache.VerdictLost {
		t.Errorf("got %v, want lost", loaded.Verdict)
	}
}

// TestFullRedis: deletes go on, the position stays, and nothing of that time is
// vouched for afterwards.
func TestFullRedis(t *testing.T) {
	t.Parallel()
	_, b := oneRedis(t)
	mustSet(t, b.cache, "k", "other", "pattern:1")
	mustApply(t, b.applier, cache.Batch{Keys: []string{"x"}, Ahead: 10, Epoch: "e"})
	mustMove(t, b.applier, position("a", 2))
	limit := func(bytes string) {
		t.Helper()
		if err := b.rdb.ConfigSet(t.Context(), "maxmemory", bytes).Err(); err != nil {
			t.Fatal(err)
		}
	}
	limit("1")
	for range 3 {
		mustApply(t, b.applier, cache.Batch{Keys: []string{"k"}, Ahead: 20, Epoch: "e"})
		if err := b.applier.Move(t.Context(), position("a", 3)); !cache.IsFull(err) {
			t.Fatalf("move: got %v, want an error for which IsFull is true", err)
		}
	}
	if _, err := b.applier.Sweep(t.Context(), []string{"pattern:*"}); err != nil {
		t.Fatal(err)
	}
	if there := present(t, b.cache, "k", "other", "pattern:1"); there["k"] || !there["other"] || there["pattern:1"] {
		t.Errorf("present: got %v, want other only", there)
	}
	if n := b.rdb.Exists(t.Context(), "freshet:ahead:test").Val(); n != 0 {
		t.Error("how far deletes went ahead could not be raised and was left standing")
	}
	limit("0")
	if err := b.applier.Move(t.Context(), position("a", 3)); !errors.Is(err, cache.ErrRolledBack) {
		t.Fatalf("first move with memory again: got %v, want ErrRolledBack", err)
	}
	if got := recovers(t, b.applier, "a").Position.Seq; got != 2 {
		t.Errorf("continues from %d, want 2", got)
	}
	mustMove(t, b.applier, position("a", 3))
}

// TestForgottenScriptsAreLoadedAgain: SCRIPT FLUSH, or a restart.
func TestForgottenScriptsAreLoadedAgain(t *testing.T) {
	t.Parallel()
	_, b := oneRedis(t)
	for seq := uint64(2); seq < 5; seq++ {
		if err := b.rdb.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		mustSet(t, b.cache, "k")
		mustApply(t, b.applier, cache.Batch{Keys: []string{"k"}, Ahead: 10, Epoch: "e"})
		if present(t, b.cache, "k")["k"] {
			t.Error("the key is still there")
		}
		if err := b.rdb.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if _, err := b.applier.Sweep(t.Context(), []string{"x*"}); err != nil {
			t.Fatal(err)
		}
		mustMove(t, b.applier, position("a", seq))
	}
}

// cutter is a dialer whose connections break after so many bytes.
type cutter struct {
	mu      sync.Mutex
	written int  // bytes still to be written before the cut; negative: no limit
	reply   bool // cut when a reply comes instead
	skip    int  // so many replies later
}

func (c *cutter) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &cutConn{Conn: conn, c: c}, nil
}

func (c *cutter) arm(written int, reply bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written, c.reply = written, reply
}

type cutConn struct {
	net.Conn
	c *cutter
}

var errCut = errors.New("cut")

func (c *cutConn) Write(p []byte) (int, error) {
	c.c.mu.Lock()
	defer c.c.mu.Unlock()
	if c.c.written < 0 || c.c.reply {
		return c.Conn.Write(p)
	}
	n := min(len(p), c.c.written)
	c.c.written -= n
	written, err := c.Conn.Write(p[:n])
	if err == nil && n < len(p) {
		c.c.written = -1
		_ = c.Conn.Close()
		return written, errCut
	}
	return written, err
}

func (c *cutConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.c.mu.Lock()
	defer c.c.mu.Unlock()
	if c.c.reply && n > 0 {
		if c.c.skip--; c.c.skip >= 0 {
			return n, err
		}
		c.c.reply = false
		_ = c.Conn.Close()
		return 0, io.EOF
	}
	return n, err
}

// TestCutConnections: whatever part of a pipeline, or of its replies, is lost,
// repeating the batch succeeds and nothing is mistaken for a rollback.
func TestCutConnections(t *testing.T) {
	t.Parallel()
	server := servertest.Redis(t)
	b := open(t, server.URL(), server.Client(), cache.Config{})
	cut := &cutter{written: -1}
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1, Dialer: cut.dial})
	defer rdb.Close()
	a, err := cache.NewApplier(rdb, cache.ApplierConfig{Name: "test", Pipeline: 8})
	if err != nil {
		t.Fatal(err)
	}
	mustTakeOver(t, a, position("a", 1))
	keys := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}
	batch := cache.Batch{Keys: keys, Ahead: 10, Epoch: "e"}
	failures := 0
	repeat := func(call func() error) {
		t.Helper()
		for range 20 {
			err := call()
			if err == nil {
				return
			}
			if errors.Is(err, cache.ErrRolledBack) || errors.Is(err, cache.ErrForeignOwner) {
				t.Fatal(err)
			}
			failures++
		}
		t.Fatal("20 attempts failed")
	}
	seq := uint64(2)
	for written := 0; written < 3000; written += 97 {
		for _, reply := range []bool{false, true} {
			mustSet(t, b.cache, keys...)
			cut.arm(written, reply)
			repeat(func() error { _, err := a.Apply(t.Context(), batch); return err })
			for key, there := range present(t, b.cache, keys...) {
				if there {
					t.Fatalf("%q is still there", key)
				}
			}
			cut.arm(written%700, reply)
			for range 2 {
				repeat(func() error { seq++; return a.Move(t.Context(), position("a", seq)) })
			}
			cut.arm(-1, false)
		}
	}
	if failures < 50 {
		t.Errorf("only %d calls failed: the test proves little", failures)
	}
}

// TestAheadNeverGoesBack: neither within an epoch nor when old batches come
// again.
func TestAheadNeverGoesBack(t *testing.T) {
	t.Parallel()
	_, b := oneRedis(t)
	for _, step := range []struct {
		epoch string
		lsn   cache.LSN
		want  string
	}{
		{"1:1:0", 0x10, "1:1:0 0000000000000010"},
		{"1:1:0", 0xffffffffffffff00, "1:1:0 ffffffffffffff00"},
		{"1:1:0", 0x20, "1:1:0 ffffffffffffff00"},
		{"1:1:1", 0x20, "1:1:1 0000000000000020"},
	} {
		mustApply(t, b.applier, cache.Batch{Keys: []string{"k"}, Ahead: step.lsn, Epoch: step.epoch})
		if got := b.rdb.Get(t.Context(), "freshet:ahead:test").Val(); got != step.want {
			t.Errorf("after %s in %s: got %q, want %q", step.lsn, step.epoch, got, step.want)
		}
	}
	// Nor when somebody who does not remember it takes over.
	young := b.another(t, cache.ApplierConfig{Name: "test"})
	mustTakeOver(t, young, position("young", 1))
	mustApply(t, young, cache.Batch{Keys: []string{"k"}, Ahead: 0x10, Epoch: "1:1:1"})
	if got, want := b.rdb.Get(t.Context(), "freshet:ahead:test").Val(), "1:1:1 0000000000000020"; got != want {
		t.Errorf("after another took over: got %q, want %q", got, want)
	}
}
