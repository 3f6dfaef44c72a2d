package invalidator_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
	"github.com/freshet-dev/freshet/internal/stream"
	"github.com/freshet-dev/freshet/invalidator"
)

// TestMain makes the test binary an invalidator when it is told to, so that a
// test can end one as a crash does.
func TestMain(m *testing.M) {
	if os.Getenv("FRESHET_TEST_NATS") != "" {
		if err := workAlone(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func workAlone() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	s, err := stream.Open(ctx, stream.Config{Name: instance, URL: os.Getenv("FRESHET_TEST_NATS")})
	if err != nil {
		return err
	}
	a, err := cache.OpenApplier(os.Getenv("FRESHET_TEST_REDIS"), cache.ApplierConfig{Name: instance})
	if err != nil {
		return err
	}
	rules, err := rule.Compile(shopRules, nil)
	if err != nil {
		return err
	}
	v, err := invalidator.New(invalidator.Config{Name: instance, ID: os.Getenv("FRESHET_TEST_ID")}, s, a, rules, nil)
	if err != nil {
		return err
	}
	return v.Run(ctx)
}

// startChild starts an invalidator in a process of its own.
func (w *world) startChild(id string) *exec.Cmd {
	w.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "FRESHET_TEST_NATS="+w.stream.ClientURL(), "FRESHET_TEST_REDIS="+w.url, "FRESHET_TEST_ID="+id)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		cmd.Process.Kill() // it may have ended
		cmd.Wait()         // killed
	})
	return cmd
}

func TestAppliesAgainAfterACrashBeforeThePositionMoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	var armed atomic.Bool
	reached := make(chan struct{})
	v := w.start(func(c *invalidator.Config) {
		c.OnEffects(func(ctx context.Context) {
			if armed.CompareAndSwap(true, false) {
				close(reached)
				<-ctx.Done() // as good as dead: nothing is written any more
			}
		})
	})
	w.settle(v)
	before := w.position()
	w.fill("order:1")
	armed.Store(true)
	w.publish("orders", order(1))
	if err := w.session.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	receive(t, reached)
	if left := w.present("order:1"); len(left) > 0 {
		t.Errorf("%q is there although its delete was confirmed", left)
	}
	v.stop()
	if got := w.position(); got.Seq != before.Seq {
		t.Fatalf("position moved to %d before the crash, want %d", got.Seq, before.Seq)
	}

	w.fill("order:1") // what a reader may have stored since
	v = w.start()
	v.reaches(w.mark())
	w.gone("order:1")
}

func TestAStandbyTakesOverFromOneThatVanished(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	child := w.startChild("first")
	servertest.Eventually(t, waiting, func() (bool, string) {
		text, err := w.rdb.Get(t.Context(), "freshet:position:"+instance).Result()
		return err == nil, fmt.Sprintf("position %q: %v", text, err)
	})
	standby := w.start(func(c *invalidator.Config) { c.ID = "second" })
	third := w.start(func(c *invalidator.Config) { c.ID = "third" })
	standby.within(waiting, "waiting behind the first", func(s invalidator.Status) bool {
		return s.State == invalidator.StateWaiting && s.Owner == "first"
	})
	for range 3 { // the child works
		id := int(w.tx)
		w.fill(orders(id, id+1)...)
		w.publish("orders", order(id))
		w.mark()
		w.gone(orders(id, id+1)...)
	}

	keys := orders(1000, 3000)
	w.fill(keys...)
	var killed time.Time
	for i := range keys {
		if i == len(keys)/2 {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			killed = time.Now()
		}
		w.publish("orders", order(1000+i))
	}
	last := w.mark()
	var active *running
	servertest.Eventually(t, waiting, func() (bool, string) {
		for _, v := range []*running{standby, third} {
			if v.Status().Active {
				active = v
			}
		}
		return active != nil, "nobody is active"
	})
	// What makes it three seconds is tested with the lease.
	t.Logf("taken over %v after the kill", time.Since(killed).Round(time.Millisecond))
	active.reaches(last)
	w.gone(keys...)
	if standby.Status().Active && third.Status().Active {
		t.Error("two invalidators are active")
	}
}

func TestSteppingDownLetsTheNextOneIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	first := w.start(func(c *invalidator.Config) { c.ID = "first" })
	w.settle(first)
	second := w.start(func(c *invalidator.Config) { c.ID = "second" })
	second.is(invalidator.StateWaiting)
	w.fill(orders(0, 100)...)
	for i := range 50 {
		w.publish("orders", order(i))
	}
	first.stop()
	for i := range 50 {
		w.publish("orders", order(50+i))
	}
	second.reaches(w.mark())
	w.gone(orders(0, 100)...)
	if got := w.position().Owner; got != "second" {
		t.Errorf("owner: got %q, want second", got)
	}
}
