package stream

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

// term is one time that a competitor leads.
type term struct {
	started chan struct{} // closed when f runs
	ended   chan struct{} // closed when f has returned
	cause   error         // why its context was cancelled; read after ended
	begin   time.Time
	end     time.Time
}

// compete runs Lead in the background and reports every term on the channel.
func compete(t *testing.T, s *Stream, owner string, onWait func(string)) (terms <-chan *term, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(testContext(t))
	out := make(chan *term, 16)
	var err error
	var wg sync.WaitGroup
	wg.Go(func() {
		err = s.Lead(ctx, "invalidator", owner, onWait, func(ctx context.Context) error {
			m := &term{started: make(chan struct{}), ended: make(chan struct{}), begin: time.Now()}
			close(m.started)
			out <- m
			<-ctx.Done()
			m.end, m.cause = time.Now(), context.Cause(ctx)
			close(m.ended)
			return ctx.Err()
		})
	})
	stop = sync.OnceValue(func() error { cancel(); wg.Wait(); return err })
	t.Cleanup(func() { _ = stop() })
	return out, stop
}

func next(t *testing.T, terms <-chan *term) *term {
	t.Helper()
	select {
	case m := <-terms:
		return m
	case <-time.After(patience):
		t.Fatal("nobody took the lead")
		return nil
	}
}

// pair is one server with two processes' connections to it.
func pair(t *testing.T) (a, b *Stream) {
	t.Helper()
	server := open(t, testConfig(t))
	cfg := testConfig(t)
	cfg.URL = server.ClientURL()
	return open(t, cfg), open(t, cfg)
}

// TestLeaseTimes: a holder that vanishes is replaced within three seconds, of
// which the lease's own times leave half a second for a request and a busy
// machine; and it has stopped before, whatever the machine does in so long.
func TestLeaseTimes(t *testing.T) {
	t.Parallel()
	if longest := leaseTTL + leasePoll; longest > 2500*time.Millisecond {
		t.Errorf("a vanished holder is replaced after %s without any delay, want 2.5s at most", longest)
	}
	if between := leaseTTL - leaseGiveUp; between < 500*time.Millisecond {
		t.Errorf("%s between the end of one and the beginning of the next, want 500ms at least", between)
	}
	if leaseGiveUp < 3*leaseRenew {
		t.Errorf("gives up after %s, before three renewals at %s have failed", leaseGiveUp, leaseRenew)
	}
}

// released fails unless nobody holds the lease.
func released(t *testing.T, s *Stream, role string) {
	t.Helper()
	if entry, err := s.kv.Get(testContext(t), keyLeasePrefix+role); !isMissingKey(err) {
		t.Errorf("the lease is still there: %v, %v", entry, err)
	}
}

func TestLeadHandsOver(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	terms, stop := compete(t, a, "a", nil)
	first := next(t, terms)
	waiting := make(chan string, 16)
	others, stopOther := compete(t, b, "b", func(holder string) { waiting <- holder })
	if got := <-waiting; got != "a" {
		t.Errorf("waits behind %q, want a", got)
	}
	select {
	case <-others:
		t.Fatal("two lead at the same time")
	case <-time.After(leaseTTL + time.Second): // the lease is renewed, so it never runs out
	}
	began := time.Now()
	if err := stop(); err != nil {
		t.Errorf("lead: got %v, want nil when its context ends", err)
	}
	<-first.ended
	second := next(t, others)
	t.Logf("taken over after %s", second.begin.Sub(began))
	if !first.end.Before(second.begin) {
		t.Errorf("the next one began %s before the first had returned", first.end.Sub(second.begin))
	}
	if err := stopOther(); err != nil {
		t.Errorf("lead: got %v, want nil when its context ends", err)
	}
	released(t, a, "invalidator") // so that nobody has to wait for its end
}

// TestLeadVanishedHolder: a standby takes over when the lease of a holder that
// vanished has run out, and the holder, if it still lives, has stopped before.
func TestLeadVanishedHolder(t *testing.T) {
	t.Parallel()
	// The lease leaves half a second between the two. A machine that stands
	// still for longer in one attempt does not in all of them.
	const attempts = 3
	for range attempts {
		if overlap := vanish(t); overlap > 0 {
			t.Logf("the former holder stopped %s after the new one began", overlap)
			continue
		}
		return
	}
	t.Errorf("in %d of %d attempts two led at the same time", attempts, attempts)
}

// vanish closes a holder's connection, as the death of its process does, so
// that nothing is released, and returns for how long it led beside the next
// one.
func vanish(t *testing.T) (overlap time.Duration) {
	t.Helper()
	a, b := pair(t)
	terms, _ := compete(t, a, "a", nil)
	first := next(t, terms)
	others, stop := compete(t, b, "b", nil)
	vanished := time.Now()
	if err := a.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	second := next(t, others)
	t.Logf("taken over after %s", second.begin.Sub(vanished))
	<-first.ended
	if !errors.Is(first.cause, ErrLeaseLost) {
		t.Errorf("cause: got %v, want %v", first.cause, ErrLeaseLost)
	}
	if err := stop(); err != nil {
		t.Errorf("lead: got %v, want nil when its context ends", err)
	}
	return first.end.Sub(second.begin)
}

// TestLeadTaken writes the lease behind the holder's back: it stops with its
// next renewal, and leads again when the other's lease has run out.
func TestLeadTaken(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	terms, _ := compete(t, a, "a", nil)
	first := next(t, terms)
	if _, err := a.kv.Put(testContext(t), keyLeasePrefix+"invalidator", []byte(`{"owner":"thief"}`)); err != nil {
		t.Fatalf("put: %v", err)
	}
	<-first.ended
	if !errors.Is(first.cause, ErrLeaseLost) {
		t.Errorf("cause: got %v, want %v", first.cause, ErrLeaseLost)
	}
	second := next(t, terms)
	if pause := second.begin.Sub(first.end); pause < leaseGiveUp {
		t.Errorf("leads again after %s, before the other's lease ran out", pause)
	}
}

func TestLeadReturnsError(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	boom := errors.New("boom")
	err := a.Lead(testContext(t), "consumer", "a", nil, func(context.Context) error { return boom })
	if !errors.Is(err, boom) {
		t.Errorf("got %v, want %v", err, boom)
	}
	released(t, b, "consumer")
	if err := b.Lead(testContext(t), "consumer", "b", nil, func(context.Context) error { return nil }); err != nil {
		t.Errorf("got %v, want nil", err)
	}
}
