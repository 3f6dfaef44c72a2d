package stream

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// publisher runs a publisher until the test ends.
func publisher(t *testing.T, s *Stream) *WarmPublisher {
	t.Helper()
	p, err := s.NewWarmPublisher()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return p
}

// counted waits until the publisher is done with so many tasks.
func counted(t *testing.T, p *WarmPublisher, n int64) {
	t.Helper()
	servertest.Eventually(t, patience, func() (bool, string) {
		published, merged, dropped := p.Counts()
		return published+merged+dropped >= n, fmt.Sprintf("%d published, %d merged, %d dropped of %d", published, merged, dropped, n)
	})
}

func warmQueue(t *testing.T, s *Stream) *WarmQueue {
	t.Helper()
	q, err := s.WarmQueue(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func nextTask(t *testing.T, q *WarmQueue) *Warming {
	t.Helper()
	w, err := q.Next(testContext(t), patience)
	if err != nil || w == nil {
		t.Fatalf("next: got %v, %v, want a task", w, err)
	}
	return w
}

// TestWarmTasksCoalesce: what is asked for a thousand times while nobody has begun it
// is one task, the last one.
func TestWarmTasksCoalesce(t *testing.T) {
	t.Parallel()
	s := open(t, testConfig(t))
	q, p := warmQueue(t, s), publisher(t, s)
	last := "7"
	for i := range 1000 {
		task := WarmTask{Query: "q", Rule: "orders", Key: "order:1"}
		if i == 999 {
			task.Args = []*string{&last, nil}
		}
		p.Offer([]WarmTask{task})
	}
	p.Offer([]WarmTask{{Query: "q", Key: "order:2"}})
	counted(t, p, 1001)
	if published, _, _ := p.Counts(); published > 500 {
		t.Errorf("%d tasks were published of 1001 for two keys", published)
	}
	got := map[string]WarmTask{}
	for range 2 {
		w := nextTask(t, q)
		task, err := w.Task()
		if err != nil || w.Delivery() != 1 {
			t.Errorf("got %+v, %v in delivery %d, want the first", task, err, w.Delivery())
		}
		got[task.Key] = task
		if err := w.Done(); err != nil {
			t.Error(err)
		}
	}
	_, other := got["order:2"]
	if task := got["order:1"]; !other || len(task.Args) != 2 || *task.Args[0] != "7" || task.Args[1] != nil || task.Rule != "orders" {
		t.Errorf("got %+v, want the last task of each", got)
	}
	if w, err := q.Next(testContext(t), 100*time.Millisecond); w != nil || err != nil {
		t.Errorf("got %v, %v, want no more", w, err)
	}
}

// TestWarmTaskComesAgain, to another warmer, and not for ever.
func TestWarmTaskComesAgain(t *testing.T) {
	t.Parallel()
	s := open(t, testConfig(t))
	first, second, p := warmQueue(t, s), warmQueue(t, s), publisher(t, s)
	p.Offer([]WarmTask{{Query: "q", Key: "order:1"}})
	for i := range WarmDeliveries {
		q := first
		if i%2 == 1 {
			q = second
		}
		w := nextTask(t, q)
		if w.Delivery() != i+1 {
			t.Errorf("got delivery %d, want %d", w.Delivery(), i+1)
		}
		if err := errors.Join(w.Working(), w.Again(time.Millisecond)); err != nil {
			t.Error(err)
		}
	}
	servertest.Eventually(t, patience, func() (bool, string) {
		info, err := s.js.Stream(testContext(t), s.cfg.warmName())
		if err != nil {
			return false, err.Error()
		}
		return info.CachedInfo().State.Msgs == 0, fmt.Sprintf("%d tasks are left", info.CachedInfo().State.Msgs)
	})
}

// TestWarmOfferNeverBlocks: not without anybody who publishes, and not beyond the
// bound.
func TestWarmOfferNeverBlocks(t *testing.T) {
	t.Parallel()
	s := open(t, testConfig(t))
	p, err := s.NewWarmPublisher()
	if err != nil {
		t.Fatal(err)
	}
	p.Offer(make([]WarmTask, 3*warmWaiting)) // nobody runs it
	if published, _, dropped := p.Counts(); published != 0 || dropped != 2*warmWaiting {
		t.Errorf("got %d published and %d dropped, want 0 and %d", published, dropped, 2*warmWaiting)
	}
}

// TestWarmStreamComesBack: a memory stream goes with its server; publishers and
// warmers make it again.
func TestWarmStreamComesBack(t *testing.T) {
	t.Parallel()
	s := open(t, testConfig(t))
	q, p := warmQueue(t, s), publisher(t, s)
	p.Offer([]WarmTask{{Query: "q", Key: "order:1"}})
	counted(t, p, 1)
	if err := s.js.DeleteStream(testContext(t), s.cfg.warmName()); err != nil {
		t.Fatal(err)
	}
	servertest.Eventually(t, patience, func() (bool, string) {
		w, err := q.Next(testContext(t), 100*time.Millisecond)
		return err != nil, fmt.Sprintf("got %v, %v of a queue without a stream", w, err)
	})
	servertest.Eventually(t, patience, func() (bool, string) {
		before, _, _ := p.Counts()
		p.Offer([]WarmTask{{Query: "q", Key: "order:2"}})
		after, _, dropped := p.Counts()
		return after > before || before > 1, fmt.Sprintf("%d published, %d dropped", after, dropped)
	})
	w := nextTask(t, warmQueue(t, s))
	if task, err := w.Task(); err != nil || task.Key != "order:2" {
		t.Errorf("got %+v, %v, want order:2", task, err)
	}
}

func TestEnsureWarm(t *testing.T) {
	t.Parallel()
	s := open(t, testConfig(t))
	if err := errors.Join(s.EnsureWarm(testContext(t)), s.EnsureWarm(testContext(t))); err != nil {
		t.Fatalf("ensure twice: %v", err)
	}
	info, err := s.js.Stream(testContext(t), "freshet-shop-warm")
	if err != nil {
		t.Fatal(err)
	}
	if c := info.CachedInfo().Config; c.Storage != jetstream.MemoryStorage || c.MaxMsgsPerSubject != 1 || c.MaxBytes <= 0 || c.MaxMsgs <= 0 || c.MaxAge <= 0 {
		t.Errorf("got %+v, want bounded memory, one message for each key", c)
	}

	// One that somebody else made is not taken for ours.
	if err := s.js.DeleteStream(testContext(t), "freshet-shop-warm"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.js.CreateStream(testContext(t), jetstream.StreamConfig{Name: "freshet-shop-warm", Subjects: []string{"freshet.shop.warm.*"}}); err != nil {
		t.Fatal(err)
	}
	var settings *SettingsError
	if err := s.EnsureWarm(testContext(t)); !errors.As(err, &settings) || settings.Remedy == "" {
		t.Errorf("got %v, want a SettingsError with a remedy", err)
	}
}

func TestUnreadableWarmTask(t *testing.T) {
	t.Parallel()
	s := open(t, testConfig(t))
	q := warmQueue(t, s)
	for _, data := range []string{"{", `{"key":"k"}`, `{"query":"q"}`} {
		if _, err := s.js.Publish(testContext(t), s.Subjects().Warm("k"), []byte(data)); err != nil {
			t.Fatal(err)
		}
		w := nextTask(t, q)
		if task, err := w.Task(); err == nil {
			t.Errorf("%s: got %+v, want an error", data, task)
		}
		if err := w.Done(); err != nil {
			t.Error(err)
		}
	}
}
