package invalidator_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/invalidator"
)

// What is invalidated by hand is removed like anything else: no fill that began
// before lands after it (I3).
func TestInvalidateByHand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	c, err := cache.Open(t.Context(), w.url, cache.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	before := w.position()
	for name, tc := range map[string]struct {
		key     string
		targets invalidator.Targets
	}{
		"key":     {"by:key", invalidator.Targets{Keys: []string{"by:key"}}},
		"pattern": {"by:pattern:1", invalidator.Targets{Patterns: []string{"by:pattern:*"}}},
		"both":    {"by:both:2", invalidator.Targets{Keys: []string{"by:both:1"}, Patterns: []string{"by:both:*"}}},
	} {
		lease, err := c.Lease(t.Context(), tc.key)
		if err != nil || !lease.Held() {
			t.Fatalf("%s: got %v, %v, want the lease", name, lease.Held(), err)
		}
		w.fill("by:"+name+":other", "other:1")
		if name == "both" {
			w.fill("by:both:1")
		}
		removed, err := v.Invalidate(t.Context(), tc.targets)
		want := map[string]int{"key": 0, "pattern": 1, "both": 2}[name]
		if err != nil || removed != want {
			t.Errorf("%s: removed %d, %v, want %d", name, removed, err, want)
		}
		if stored, err := lease.Fill(t.Context(), "old", time.Minute); stored || err != nil {
			t.Errorf("%s: a fill that began before was stored: %v, %v", name, stored, err)
		}
		w.stays("other:1")
	}

	if err := cache.Set(t.Context(), c, "tagged", 1, time.Minute, cache.WithTags("red")); err != nil {
		t.Fatal(err)
	}
	// Nor does a tagged one: its load reads the database before the tag goes.
	_, err = cache.GetOrSet(t.Context(), c, "tagged:later", time.Minute, func(ctx context.Context) (int, error) {
		_, err := v.Invalidate(ctx, invalidator.Targets{Tags: []string{"red"}})
		return 1, err
	}, cache.WithTags("red"))
	if err != nil {
		t.Error(err)
	}
	for _, key := range []string{"tagged", "tagged:later"} {
		if _, err := cache.Get[int](t.Context(), c, key); !errors.Is(err, cache.ErrMiss) {
			t.Errorf("%s: got %v, want a miss", key, err)
		}
	}
	after := w.position()
	if after.Removing = before.Removing; after != before { // for the order's own sake alone
		t.Errorf("the position moved from %+v to %+v", before, after)
	}
	// What the stream brings goes on.
	w.fill("order:1")
	w.publish("orders", order(1))
	v.reaches(w.mark())
	w.gone("order:1")

	v.stop()
	if _, err := v.Invalidate(t.Context(), invalidator.Targets{Keys: []string{"x"}}); !errors.Is(err, invalidator.ErrNotActive) {
		t.Errorf("stopped: got %v, want ErrNotActive", err)
	}
}

// Whoever asked waits for as long as it takes: when Redis forgets what was applied
// while the order is in hand, what reads on takes it again.
func TestInvalidateByHandOutlivesAReading(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	events := w.events()
	w.begin(w.lsn)
	entered := make(chan struct{}, 1)
	v := w.start(func(c *invalidator.Config) {
		first := sync.OnceFunc(func() { entered <- struct{}{} })
		passes := 0 // one at a time
		c.OnPass(func(ctx context.Context) {
			first()
			if passes++; passes == 1 {
				<-ctx.Done()
			}
		})
	})
	w.settle(v)
	const counter = "freshet:counter:" + instance
	earlier, err := w.rdb.Get(t.Context(), counter).Result()
	if err != nil {
		t.Fatal(err)
	}
	w.publish("orders", order(1))
	v.reaches(w.mark())
	w.fill("by:hand:1")
	ended := invalidating(t, v, "by:hand:*")
	receive(t, entered)
	if err := w.rdb.Set(t.Context(), counter, earlier, 0).Err(); err != nil { // as a restored dump has it
		t.Fatal(err)
	}
	w.publish("orders", order(1))
	w.mark()
	events.await("redis_rollback", 1)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	w.gone("by:hand:1")
}

func TestInvalidateByHandEndsWithTheLead(t *testing.T) {
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
	ended := invalidating(t, v, "by:hand:*")
	receive(t, entered)
	v.stop()
	if err := <-ended; !errors.Is(err, invalidator.ErrNotActive) {
		t.Errorf("got %v, want ErrNotActive", err)
	}
}

// invalidating invalidates a pattern in the background.
func invalidating(t *testing.T, v *running, pattern string) <-chan error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waiting)
	ended := make(chan error, 1)
	go func() {
		defer cancel()
		_, err := v.Invalidate(ctx, invalidator.Targets{Patterns: []string{pattern}})
		ended <- err
	}()
	return ended
}

// A paused instance applies nothing, also after a restart, and everything when it
// is resumed.
func TestPause(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	if err := w.stream.Pause(t.Context(), "a test"); err != nil {
		t.Fatal(err)
	}
	v.is(invalidator.StatePaused)
	before := w.position()
	keys := orders(0, 50)
	w.fill(keys...)
	for i := range keys {
		w.publish("orders", order(i))
	}
	w.fill("order:by-hand")
	last := w.mark()
	// An order goes through while changes that were published before it wait.
	if removed, err := v.Invalidate(t.Context(), invalidator.Targets{Keys: []string{"order:by-hand"}}); err != nil || removed != 1 {
		t.Errorf("by hand: removed %d, %v, want 1", removed, err)
	}
	w.stays(keys...)
	after := w.position()
	if after.Removing = before.Removing; after != before { // for the order's own sake alone
		t.Errorf("the position moved from %+v to %+v", before, after)
	}
	v.stop()

	v = w.start()
	v.is(invalidator.StatePaused)
	w.stays(keys...)
	if err := w.stream.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	v.reaches(last)
	w.gone(keys...)
	v.is(invalidator.StateActive)
}

// Replayed history removes again what it removed before, moves nothing, and says
// when not all of it is there.
func TestReplay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	v := w.start(func(c *invalidator.Config) { c.Batch = 20 })
	w.settle(v)
	keys := orders(0, 200)
	half := w.lsn
	for i := range keys {
		if i == 100 {
			half = w.publish("orders", order(i))
			continue
		}
		w.publish("orders", order(i))
	}
	w.publish("inventory", item(1))
	v.reaches(w.mark())
	before := w.position()

	w.fill(keys...)
	w.fill("dashboard:7", "other:1")
	var last invalidator.ReplayProgress
	got, err := v.Replay(t.Context(), invalidator.ReplayFrom{Since: time.Now().Add(-time.Hour)}, func(p invalidator.ReplayProgress) { last = p })
	if err != nil || got.Changes != 201 || got.Removed != 201 || got.Messages != got.Of || !got.Complete || last != got {
		t.Errorf("got %+v, %v, and last %+v, want 201 changes and values", got, err, last)
	}
	w.gone(keys...)
	w.gone("dashboard:7")
	w.stays("other:1")

	w.fill(keys...)
	got, err = v.Replay(t.Context(), invalidator.ReplayFrom{LSN: half}, nil)
	if err != nil || got.Removed != 100 || !got.Complete {
		t.Errorf("from an LSN: got %+v, %v, want 100 values", got, err)
	}
	w.stays(keys[:100]...)
	w.gone(keys[100:]...)

	if got, err = v.Replay(t.Context(), invalidator.ReplayFrom{Since: time.Now().Add(time.Hour)}, nil); err != nil || got.Of != 0 || got.Removed != 0 {
		t.Errorf("of nothing: got %+v, %v", got, err)
	}
	after := w.position()
	if after.Removing = before.Removing; after != before { // for the order's own sake alone
		t.Errorf("the position moved from %+v to %+v", before, after)
	}

	// What could not be read is widened again, and kept as a dead letter once.
	w.lsn += 10
	w.raw(w.stream.Subjects().Changes("public", "users"), w.lsn, []byte("broken"))
	broken := w.lsn
	v.reaches(w.mark())
	w.fill("user:1")
	if got, err = v.Replay(t.Context(), invalidator.ReplayFrom{LSN: broken}, nil); err != nil || got.Removed != 1 {
		t.Errorf("of what cannot be read: got %+v, %v, want one value", got, err)
	}
	w.gone("user:1")
	if got := v.Status().DeadLetters; got != 1 {
		t.Errorf("%d dead letters, want 1", got)
	}

	// The running stream goes on beside, and knows nothing of it.
	w.publish("orders", order(1))
	v.reaches(w.mark())
	w.gone("order:1")
	s, err := w.stream.JetStream().Stream(t.Context(), "freshet-"+instance)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteMsg(t.Context(), s.CachedInfo().State.FirstSeq); err != nil { // as a limit would
		t.Fatal(err)
	}
	got, err = v.Replay(t.Context(), invalidator.ReplayFrom{Since: time.Now().Add(-time.Hour)}, nil)
	if err != nil || got.Complete || got.Begins.IsZero() {
		t.Errorf("of a stream that was cut: got %+v, %v, want it to say so", got, err)
	}
}
