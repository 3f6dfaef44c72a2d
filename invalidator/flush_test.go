package invalidator_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
	"github.com/freshet-dev/freshet/invalidator"
)

// blockFlushes makes flushes wait until release is closed or the invalidator
// stops.
func blockFlushes(entered chan<- struct{}, release <-chan struct{}) func(*invalidator.Config) {
	return func(c *invalidator.Config) {
		c.OnFlush(func(ctx context.Context) {
			select {
			case entered <- struct{}{}:
			default:
			}
			select {
			case <-release:
			case <-ctx.Done():
			}
		})
	}
}

func TestNothingIsClaimedWhileALostPositionIsFlushed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	v.stop()
	w.fill("order:1", "dashboard:1")
	if err := w.rdb.Del(t.Context(), "freshet:position:"+instance, "freshet:counter:"+instance).Err(); err != nil {
		t.Fatal(err)
	}
	entered, release := make(chan struct{}, 1), make(chan struct{})
	for range 2 { // the second time after a crash in the middle of the flush
		v = w.start(blockFlushes(entered, release))
		receive(t, entered)
		w.publish("users", item(1))
		w.mark()
		v.within(waiting, "changes go on", func(s invalidator.Status) bool { return s.Changes > 0 && s.State == invalidator.StateFlushing })
		if p := w.position(); p.LSN != 0 || p.Stream != "" {
			t.Errorf("position claims %+v before the flush has ended", p)
		}
		v.stop()
	}
	w.stays("order:1", "dashboard:1")
	v = w.start(blockFlushes(entered, release))
	close(release)
	w.settle(v)
	if left := w.present("order:1", "dashboard:1"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func TestThePositionWaitsForAGapsFlushAndKeysDoNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	v.stop()
	at := w.position()
	entered, release := make(chan struct{}, 1), make(chan struct{})
	v = w.start(blockFlushes(entered, release))
	w.fill("order:1", "dashboard:1", "user:1")
	w.gap(cdc.Gap{ID: "g1", Reason: "crash"})
	receive(t, entered)
	w.publish("users", cdc.Change{Op: cdc.Delete, Old: cdc.Row{number("id", 1)}, OldKnown: cdc.OldFull})
	w.publish("inventory", item(1))
	last := w.mark()
	w.gone("user:1", "dashboard:1")
	if p := w.position(); p.LSN > cache.LSN(last-2) || p.Seq > at.Seq+1 {
		t.Errorf("position went on to %s, seq %d, from seq %d, over a gap whose flush has not ended", p.LSN, p.Seq, at.Seq)
	}
	close(release)
	v.reaches(last)
	w.gone("order:1")
}

func TestTheOldFingerprintStaysUntilTheFlushHasEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	v.stop()
	old := w.position()
	w.fill("profile:1")
	w.rules = []rule.Config{shopRules[0], shopRules[1], {Table: "users", Invalidate: []string{"profile:{id}"}}}
	entered, release := make(chan struct{}, 1), make(chan struct{})
	v = w.start(blockFlushes(entered, release))
	receive(t, entered)
	last := w.mark()
	v.within(waiting, "flushing", func(s invalidator.Status) bool { return s.State == invalidator.StateFlushing })
	if p := w.position(); p.Rules != old.Rules || p.Seq != old.Seq {
		t.Errorf("position moved before the flush had ended: %+v", p)
	}
	v.stop()
	w.stays("profile:1")
	v = w.start()
	v.reaches(last)
	if left := w.present("profile:1"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// From before the first step of an invalidation that no LSN stands for, until behind
// its last, the position says so: a flush for a gap, one by hand, one for other rules,
// and a message that cannot be read.
func TestThePositionSaysThatSomethingIsBeingRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	if w.position().Removing {
		t.Error("the position says so with nothing to do")
	}
	v.stop()
	entered, release := make(chan struct{}, 1), make(chan struct{})
	block := func(c *invalidator.Config) {
		wait := func(ctx context.Context) {
			entered <- struct{}{}
			select {
			case <-release:
			case <-ctx.Done():
			}
		}
		c.OnFlush(wait)
		c.OnPass(wait)
	}
	v = w.start(block)
	during := func(what string) {
		t.Helper()
		receive(t, entered)
		if !w.position().Removing {
			t.Errorf("%s: the position does not say so", what)
		}
		release <- struct{}{}
		servertest.Eventually(t, waiting, func() (bool, string) {
			p := w.position()
			return !p.Removing, fmt.Sprintf("%s has ended: %+v", what, p)
		})
	}
	w.gap(cdc.Gap{ID: "g1", Reason: "crash"})
	during("a gap")
	done := make(chan error, 1)
	go func() {
		_, err := v.Invalidate(t.Context(), invalidator.Targets{Patterns: []string{"order:*"}})
		done <- err
	}()
	during("an order")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	v.stop()
	w.rules = []rule.Config{shopRules[0], shopRules[1], {Table: "users", Invalidate: []string{"profile:{id}"}}}
	v = w.start(block)
	during("other rules")
	if _, err := w.stream.JetStream().Publish(t.Context(), w.stream.Subjects().Changes("public", "orders"), []byte("?")); err != nil {
		t.Fatal(err)
	}
	during("a message that cannot be read")
}
