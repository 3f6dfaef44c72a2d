package warmer_test

import (
	"testing"

	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/stream"
	"github.com/freshet-dev/freshet/warmer"
)

// A paused warmer fills nothing, whether it was waiting for a task when it was told,
// or starts later; what was asked for is filled when it is resumed.
func TestPause(t *testing.T) {
	t.Parallel()
	w := newWorld(t, table, []rule.Config{rows(nil)}, nil)
	early := w.start(nil)
	w.offered.Offer([]stream.WarmTask{w.task(0, "t:1", "1")})
	w.is(early, "a fill", func(s warmer.Status) bool { return s.Results.Filled == 1 })
	if err := w.stream.Pause(t.Context(), "a test"); err != nil {
		t.Fatal(err)
	}
	paused := func(s warmer.Status) bool { return s.State == warmer.StatePaused }
	w.is(early, "to be paused", paused)
	w.offered.Offer([]stream.WarmTask{w.task(0, "t:2", "2")})
	w.is(early, "the task to come to one who waits, or nobody to wait", func(warmer.Status) bool {
		tasks, pending, waiting := w.tasks()
		return tasks == 1 && pending == 1 || waiting == 0
	})
	if got := early.Status().Results; got.Filled != 1 {
		t.Fatalf("the one who waited does it: %+v", got)
	}
	w.is(early, "nobody to wait", func(warmer.Status) bool { _, _, waiting := w.tasks(); return waiting == 0 })
	w.offered.Offer([]stream.WarmTask{w.task(0, "t:3", "3")})
	w.is(early, "both tasks to be there", func(warmer.Status) bool { tasks, _, _ := w.tasks(); return tasks == 2 })
	late := w.start(nil)
	w.is(late, "to be paused from the start", paused)
	if got := early.Status().Results.Filled + late.Status().Results.Filled; got != 1 || w.value("t:2")+w.value("t:3") != "" {
		t.Errorf("%d fills while paused, want the one before", got)
	}
	if err := w.stream.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.is(early, "the rest to be filled", func(s warmer.Status) bool {
		return s.State == warmer.StateActive && s.Results.Filled+late.Status().Results.Filled == 3
	})
	if w.value("t:2") == "" || w.value("t:3") == "" {
		t.Error("not filled")
	}
}

// tasks is how many tasks there are, how many of them somebody has taken, and how
// many requests wait for one.
func (w *world) tasks() (tasks uint64, taken, waiting int) {
	w.t.Helper()
	s, err := w.stream.JetStream().Stream(w.t.Context(), "freshet-"+instance+"-warm")
	if err != nil {
		w.t.Fatal(err)
	}
	for info := range s.ListConsumers(w.t.Context()).Info() { // one
		taken, waiting = info.NumAckPending, info.NumWaiting
	}
	return s.CachedInfo().State.Msgs, taken, waiting
}
