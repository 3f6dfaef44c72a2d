package invalidator_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/stream"
	"github.com/freshet-dev/freshet/invalidator"
)

// warmRules refill an order that was cached, and a client whether it was or not.
var warmRules = []rule.Config{
	{
		Table: "orders", Invalidate: []string{"order:{id}", "order:{id}:*"},
		Warm: []rule.Warm{{Key: "order:{id}", SQL: "select {id}::int", TTL: time.Minute}},
	},
	{
		Table: "clients", Invalidate: []string{"client:{id}"}, Immutable: []string{"name"},
		Warm: []rule.Warm{{Key: "client:{id}", SQL: "select {id}::int, {name}", TTL: time.Minute, Only: rule.OnlyAlways}},
	},
}

// published waits until the stream has all tasks that were made, and returns them.
func (w *world) warmTasks(v *running) (tasks []stream.WarmTask) {
	w.t.Helper()
	v.within(waiting, "warm tasks", func(s invalidator.Status) bool { return s.WarmPublished+s.WarmMerged+s.WarmDropped == s.WarmTasks })
	q, err := w.stream.WarmQueue(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for {
		next, err := q.Next(w.t.Context(), 100*time.Millisecond)
		if err != nil {
			w.t.Fatal(err)
		}
		if next == nil {
			return tasks
		}
		task, err := next.Task()
		if err != nil {
			w.t.Fatal(err)
		}
		tasks = append(tasks, task)
		if err := next.Done(); err != nil {
			w.t.Fatal(err)
		}
	}
}

func keysOf(tasks []stream.WarmTask) []string {
	keys := make([]string, len(tasks))
	for i, task := range tasks {
		keys[i] = task.Key
	}
	slices.Sort(keys)
	return keys
}

// Keys that were there, or that are always to be filled, are warmed, once each; what
// was not there, widened or flushed is not.
func TestWarmTasks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules, w.prefix = warmRules, "app:"
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)

	w.fill("app:order:1", "app:order:2", "app:order:3", "app:order:3:items", "app:client:3")
	changes := make([]cdc.Change, 1000)
	for i := range changes {
		changes[i] = order(1)
	}
	changes[999] = order(7) // which was not there
	w.publish("orders", changes...)
	client := item(1)
	client.New = append(client.New, cdc.Column{Name: "name", Value: cdc.Value{Kind: cdc.Null}})
	w.publish("clients", client) // nor was this
	v.reaches(w.mark())
	tasks := w.warmTasks(v)
	if got, want := keysOf(tasks), []string{"client:1", "order:1"}; !slices.Equal(got, want) {
		t.Fatalf("got tasks for %q, want %q", got, want)
	}
	set := compile(t, warmRules)
	for _, task := range tasks {
		q, ok := set.WarmByID(task.Query)
		if !ok || q.Rule != task.Rule || task.Args[0] == nil || *task.Args[0] != "1" {
			t.Errorf("got task %+v of %+v, want one of the rules with argument 1", task, q)
		}
		if task.Key == "client:1" && task.Args[1] != nil {
			t.Errorf("got %q, want NULL", *task.Args[1])
		}
	}

	w.publish("orders", cdc.Change{Op: cdc.Truncate})
	w.publish("clients", cdc.Change{Op: cdc.Truncate})
	v.reaches(w.mark())
	w.gone("app:order:2", "app:order:3", "app:client:3")
	if tasks := w.warmTasks(v); len(tasks) > 0 {
		t.Errorf("got tasks %+v for what was widened", tasks)
	}
	w.fill("app:order:2", "app:client:3")
	w.gap(cdc.Gap{ID: "g", Reason: "test"})
	w.gap(cdc.Gap{ID: "g", Reason: "test", Final: true})
	v.reaches(w.mark())
	w.gone("app:order:2", "app:client:3")
	if tasks := w.warmTasks(v); len(tasks) > 0 {
		t.Errorf("got tasks %+v for what was flushed", tasks)
	}
}

// A stream of warm tasks that takes none, and many more tasks than may wait, hold
// nothing up.
func TestWarmingNeverDelays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules = warmRules
	// This one refuses every task.
	if _, err := w.stream.JetStream().CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "freshet-" + instance + "-warm", Subjects: []string{"freshet." + instance + ".warm.other"},
	}); err != nil {
		t.Fatal(err)
	}
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	const rounds, each = 20, 1000
	for round := range rounds {
		changes := make([]cdc.Change, each)
		for i := range changes {
			changes[i] = cdc.Change{Op: cdc.Update, OldKnown: cdc.OldFull, New: cdc.Row{number("id", round*each+i), number("name", 1)}}
		}
		w.publish("clients", changes...)
	}
	v.reaches(w.mark())
	s := v.Status()
	if s.WarmTasks != rounds*each || s.WarmPublished != 0 || s.WarmDropped == 0 {
		t.Errorf("got %d tasks, %d published, %d dropped; want all %d made, none published", s.WarmTasks, s.WarmPublished, s.WarmDropped, rounds*each)
	}
}

// Without rules that warm, no stream is made for it.
func TestNoWarmingUnasked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	v := w.start()
	w.fill("order:1")
	w.publish("orders", order(1))
	w.settle(v)
	if _, err := w.stream.JetStream().Stream(t.Context(), fmt.Sprintf("freshet-%s-warm", instance)); err == nil {
		t.Error("there is a stream of warm tasks that nobody asked for")
	}
	if s := v.Status(); s.WarmTasks != 0 {
		t.Errorf("got %d tasks, want none", s.WarmTasks)
	}
}
