package invalidator_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/freshet-dev/freshet/internal/servers/servertest"
	"github.com/freshet-dev/freshet/invalidator"
)

func TestPatternsSharePassesAndKeysDoNotWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	var held atomic.Bool
	entered, release := make(chan struct{}, 1), make(chan struct{})
	v := w.start(func(c *invalidator.Config) {
		c.Batch = 5
		c.OnPass(func(ctx context.Context) {
			if !held.Load() {
				return
			}
			select {
			case entered <- struct{}{}:
			default:
			}
			select {
			case <-release:
			case <-ctx.Done():
			}
		})
	})
	w.settle(v)
	at := w.position()
	passes := v.Status().Passes
	held.Store(true)

	w.fill("dashboard:1")
	w.publish("inventory", item(1))
	if err := w.session.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	receive(t, entered)
	// A pass is under way. Hundreds of batches with patterns and keys follow.
	keys := orders(0, 400)
	w.fill(keys...)
	for i := range keys {
		w.publish("inventory", item(i))
		w.publish("orders", order(i))
	}
	last := w.mark()
	w.gone(keys...)
	w.stays("dashboard:1")
	if got := w.position(); got.Seq != at.Seq {
		t.Errorf("position moved from %d to %d, over a pattern whose pass has not ended", at.Seq, got.Seq)
	}
	if got := v.Status().PendingPatterns; got < 100 {
		t.Errorf("%d patterns wait, want hundreds", got)
	}
	close(release)
	v.reaches(last)
	w.gone("dashboard:1")
	if got := v.Status().Passes - passes; got > 3 {
		t.Errorf("%d passes for one pattern that came %d times, want at most 3", got, len(keys)+1)
	}
}

func TestAPatternThatArrivesDuringAPassWaitsForTheNext(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	var passes atomic.Int32
	entered, release := make(chan struct{}, 8), make(chan struct{}, 8)
	v := w.start(func(c *invalidator.Config) {
		c.OnPass(func(ctx context.Context) {
			passes.Add(1)
			entered <- struct{}{}
			select {
			case <-release:
			case <-ctx.Done():
			}
		})
	})
	w.settle(v)
	before := v.Status().Messages
	w.publish("inventory", item(1))
	first := w.mark()
	receive(t, entered)
	// Its mark is not in one batch with the second message.
	v.within(waiting, "the first mark", func(s invalidator.Status) bool { return s.Messages == before+2 })
	w.publish("inventory", item(2))
	second := w.mark()
	v.within(waiting, "both messages", func(s invalidator.Status) bool { return s.Changes == 2 })
	release <- struct{}{}
	receive(t, entered)
	v.reaches(first)
	if got := v.Status().Position.LSN; got >= second {
		t.Errorf("position %s passed the pattern of the second message while its pass had not ended", got)
	}
	release <- struct{}{}
	v.reaches(second)
	if got := passes.Load(); got != 2 {
		t.Errorf("%d passes, want 2", got)
	}
}

func TestAPatternIsAppliedAgainAfterACrashDuringItsPass(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	entered := make(chan struct{}, 1)
	v := w.start(func(c *invalidator.Config) {
		c.OnPass(func(ctx context.Context) {
			entered <- struct{}{}
			<-ctx.Done()
		})
	})
	w.settle(v)
	at := w.position()
	w.fill("dashboard:1")
	w.publish("inventory", item(1))
	last := w.mark()
	receive(t, entered)
	v.stop()
	if got := w.position(); got.Seq != at.Seq {
		t.Errorf("position moved over a pattern without a pass: %d, want %d", got.Seq, at.Seq)
	}
	w.stays("dashboard:1")
	v = w.start()
	v.reaches(last)
	w.gone("dashboard:1")
}

func TestUndecodableMessagesWidenAndAreKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	events := w.events()
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	dead, err := w.stream.Conn().SubscribeSync("freshet." + instance + ".dead.>")
	if err != nil {
		t.Fatal(err)
	}
	w.fill("order:1", "orders:client:2", "user:1", "dashboard:1")
	w.lsn += 10
	w.raw(w.stream.Subjects().Changes("public", "orders"), w.lsn, []byte(`{"v":1,"changes":`))
	v.reaches(w.mark())
	if left := w.present("order:1", "orders:client:2"); len(left) > 0 {
		t.Errorf("left when the position had passed the message: %q", left)
	}
	w.stays("user:1", "dashboard:1")
	msg, err := dead.NextMsg(waiting)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := msg.Subject, w.stream.Subjects().Dead("public", "orders"); got != want {
		t.Errorf("dead letter on %q, want %q", got, want)
	}
	if msg.Header.Get("Freshet-Reason") == "" || len(msg.Data) == 0 {
		t.Errorf("dead letter without reason or copy: %v", msg)
	}
	events.await("poison", 1)
	if got := v.Status().DeadLetters; got != 1 {
		t.Errorf("dead letters: got %d, want 1", got)
	}

	// A storm of them is kept in part, counted in full, and slows nothing.
	for i := range 200 {
		w.lsn += 10
		w.raw(w.stream.Subjects().Changes("public", "users"), w.lsn, fmt.Appendf(nil, "broken %d", i))
	}
	v.reaches(w.mark())
	w.gone("user:1")
	servertest.Eventually(t, waiting, func() (bool, string) {
		n := v.Status().DeadLetters
		return n == 201, fmt.Sprintf("%d dead letters", n)
	})
}
