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
	case <-time.After(20 * time.Second):
		t.Fatal("nobody took the lead in 20s")
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

func TestLeadHandsOver(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	terms, stop := compete(t, a, "a", nil)
	first := next(t, terms)
	waiting := make(chan string, 16)
	others, _ := compete(t, b, "b", func(holder string) { waiting <- holder })
	if got := <-waiting; got != "a" {
		t.Errorf("waits behind %q, want a", got)
	}
	select {
	case <-others:
		t.Fatal("two lead at the same time")
	case <-time.After(leaseTTL + time.Second): // the lease is renewed, so it never runs out
	}
	released := time.Now()
	if err := stop(); err != nil {
		t.Errorf("lead: got %v, want nil when its context ends", err)
	}
	<-first.ended
	second := next(t, others)
	if took := second.begin.Sub(released); took > 2*time.Second {
		t.Errorf("taken over after %s although the lease was released", took)
	}
}

// TestLeadVanishedHolder closes the holder's connection, as the death of its
// process does: nothing is released. A standby takes over within 3 s of that,
// and the holder, if it still lives, has stopped before.
func TestLeadVanishedHolder(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	terms, _ := compete(t, a, "a", nil)
	first := next(t, terms)
	others, _ := compete(t, b, "b", nil)
	vanished := time.Now()
	if err := a.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	second := next(t, others)
	took := second.begin.Sub(vanished)
	t.Logf("taken over after %s", took)
	if took > 3*time.Second {
		t.Errorf("taken over after %s, want 3s at most", took)
	}
	select {
	case <-first.ended:
	default:
		t.Fatal("the former holder still works")
	}
	if !first.end.Before(second.begin) {
		t.Errorf("the former holder stopped %s after the new one began", first.end.Sub(second.begin))
	}
	if !errors.Is(first.cause, ErrLeaseLost) {
		t.Errorf("cause: got %v, want %v", first.cause, ErrLeaseLost)
	}
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
	// The lease was released with it.
	began := time.Now()
	err = b.Lead(testContext(t), "consumer", "b", nil, func(context.Context) error { return nil })
	if took := time.Since(began); err != nil || took > leaseTTL {
		t.Errorf("got %v after %s, want nil at once", err, took)
	}
}
