package invalidator_test

import (
	"fmt"
	"testing"

	"github.com/freshet-dev/freshet/internal/servers/servertest"
	"github.com/freshet-dev/freshet/internal/stream"
	"github.com/freshet-dev/freshet/invalidator"
)

func TestARedisThatComesBackEmpty(t *testing.T) {
	t.Parallel()
	w := newWorld(t) // keeps nothing across a restart
	w.begin(w.lsn)
	v := w.start(func(c *invalidator.Config) { c.Batch = 20 })
	w.settle(v)
	keys := orders(0, 1000)
	for i := range keys {
		if i == 300 {
			if err := w.redis.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := w.redis.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.fill(keys...) // by readers, at once
		}
		w.publish("orders", order(i))
	}
	w.settle(v)
	w.gone(keys[301:]...)
	if got := w.position(); got.Rules == "" || got.Stream == "" {
		t.Errorf("position: got %+v", got)
	}
}

func TestARedisThatHangs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	w.fill("order:1")
	if err := w.redis.Pause(); err != nil {
		t.Fatal(err)
	}
	w.publish("orders", order(1))
	last := w.mark()
	v.is(invalidator.StateRedisDown)
	if err := w.redis.Resume(); err != nil {
		t.Fatal(err)
	}
	v.reaches(last)
	w.gone("order:1")
}

func TestStopsWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	if err := w.redis.Kill(); err != nil {
		t.Fatal(err)
	}
	w.publish("orders", order(1))
	w.mark()
	v.is(invalidator.StateRedisDown)
	v.stop()
}

func TestSentinelFailsOverUnderWrites(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := servertest.Sentinel(t)
	rdb := s.Client()
	t.Cleanup(func() { rdb.Close() })
	w.rdb, w.url = rdb, s.URL()
	w.begin(w.lsn)
	v := w.start(func(c *invalidator.Config) { c.Batch = 10 })
	w.settle(v)
	keys := orders(0, 1000)
	w.fill(keys...)
	old, err := s.Master(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range keys {
		if i == 300 {
			if err := s.Failover(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		w.publish("orders", order(i))
	}
	last := w.mark()
	master, err := s.AwaitMaster(t.Context(), old)
	if err != nil {
		t.Fatal(err)
	}
	v.within(waiting, "the new master", func(s invalidator.Status) bool { return s.Position.LSN >= last })
	// The old master may have applied it all by itself, before any client heard
	// of the new one, and nothing is published after that.
	// Asked itself: the client that filled may not have heard of it.
	w.rdb = master.Client()
	t.Cleanup(func() { _ = w.rdb.Close() })
	w.gone(keys...)
}

func TestNATSIsKilledUnderWrites(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := servertest.NATS(t)
	w.stream = openStream(t, stream.Config{URL: server.URL()})
	w.producer.stream = w.stream
	w.begin(w.lsn)
	v := w.start()
	w.settle(v)
	at := w.lsn
	keys := orders(0, 400)
	w.fill(keys...)
	for i := range 200 {
		w.publish("orders", order(i))
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	v.within(waiting, "the lease cannot be kept", func(s invalidator.Status) bool { return !s.Active })
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	// What the producer has no acknowledgement for is sent again.
	servertest.Eventually(t, waiting, func() (bool, string) {
		return w.stream.Conn().IsConnected(), "not connected again"
	})
	w.begin(at)
	for i := range keys {
		w.publish("orders", order(i))
	}
	last := w.mark()
	v.within(waiting, "all of it", func(s invalidator.Status) bool { return s.Position.LSN >= last })
	w.gone(keys...)
}

func TestARollbackUnderWritesEndsWithNothingStale(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.begin(w.lsn)
	v := w.start(func(c *invalidator.Config) { c.Batch = 5 })
	w.settle(v)
	const n = 900
	keys := orders(0, n)
	w.fill(keys...)
	dump, err := w.redis.SaveDump(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		w.publish("orders", order(i))
		if i%300 == 299 { // in the middle of things, three times over
			if err := w.redis.RestoreDump(t.Context(), dump); err != nil {
				t.Fatal(err)
			}
		}
	}
	last := w.mark()
	v.reaches(last)
	w.settle(v)
	servertest.Eventually(t, waiting, func() (bool, string) {
		left, err := w.rdb.Exists(t.Context(), keys...).Result()
		if err != nil {
			return false, err.Error()
		}
		return left == 0, fmt.Sprintf("%d keys left", left)
	})
}
