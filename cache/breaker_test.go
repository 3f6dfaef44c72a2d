package cache

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// TestBreaker: after failures in a row calls fail at once but for trials, whose
// pauses grow, and the first that is answered ends it.
func TestBreaker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := guard(newMemoryStore(0), newBreaker(slog.New(slog.DiscardHandler)))
		calls := 0
		var result error
		call := func() error {
			return s.guarded(t.Context(), func() error { calls++; return result })
		}
		result = io.ErrUnexpectedEOF
		for range breakAfter - 1 {
			_ = call()
		}
		result = nil
		_ = call() // not in a row
		result = io.ErrUnexpectedEOF
		for range breakAfter {
			if err := call(); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("got %v, want the store's error", err)
			}
		}
		calls = 0
		for range 100 {
			if err := call(); !errors.Is(err, errBroken) || !unavailable(err) {
				t.Fatalf("got %v, want errBroken", err)
			}
		}
		if calls != 0 {
			t.Errorf("the store was called %d times while it was left alone", calls)
		}
		pauses := []time.Duration{}
		for last := time.Now(); len(pauses) < 6; _ = sleep(t.Context(), time.Millisecond) {
			if _ = call(); calls > len(pauses) {
				pauses = append(pauses, time.Since(last))
				last = time.Now()
			}
		}
		for i, ms := range []int{250, 500, 1000, 2000, 2000, 2000} {
			want := time.Duration(ms) * time.Millisecond
			if got := pauses[i]; got < want || got > want+2*time.Millisecond {
				t.Errorf("pause %d: got %v, want %v", i, got, want)
			}
		}
		result = nil
		_ = sleep(t.Context(), breakForMost)
		calls = 0
		for range 10 {
			if err := call(); err != nil {
				t.Fatal(err)
			}
		}
		if calls != 10 {
			t.Errorf("got %d calls of 10 after a trial was answered", calls)
		}
	})
}

// TestBreakerOneTrial: while a trial is under way everybody else fails at once.
func TestBreakerOneTrial(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := guard(newMemoryStore(0), newBreaker(slog.New(slog.DiscardHandler)))
		for range breakAfter {
			_ = s.guarded(t.Context(), func() error { return io.ErrUnexpectedEOF })
		}
		_ = sleep(t.Context(), breakFor)
		release := make(chan struct{})
		done := make(chan error, 1)
		go func() { done <- s.guarded(t.Context(), func() error { <-release; return nil }) }()
		synctest.Wait()
		if err := s.guarded(t.Context(), func() error { return nil }); !errors.Is(err, errBroken) {
			t.Errorf("got %v, want errBroken", err)
		}
		close(release)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := s.guarded(t.Context(), func() error { return nil }); err != nil {
			t.Error(err)
		}
	})
}

// TestBreakerTrialThatPanics: a trial ends also when what it calls panics.
func TestBreakerTrialThatPanics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := guard(newMemoryStore(0), newBreaker(slog.New(slog.DiscardHandler)))
		for range breakAfter {
			_ = s.guarded(t.Context(), func() error { return io.ErrUnexpectedEOF })
		}
		_ = sleep(t.Context(), breakFor)
		func() {
			defer func() { _ = recover() }()
			_ = s.guarded(t.Context(), func() error { panic("a hook") })
		}()
		_ = sleep(t.Context(), breakForMost)
		if err := s.guarded(t.Context(), func() error { return nil }); err != nil {
			t.Errorf("got %v, want another trial", err)
		}
	})
}

// TestBreakerIgnoresCallers: what a caller's own haste or a server's refusal
// brings about says nothing against the store.
func TestBreakerIgnoresCallers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := guard(newMemoryStore(0), newBreaker(slog.New(slog.DiscardHandler)))
		for range 10 * breakAfter {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_ = s.guarded(ctx, func() error { return context.Canceled })
			hurry, end := context.WithTimeout(t.Context(), time.Millisecond)
			_ = s.guarded(hurry, func() error { <-hurry.Done(); return hurry.Err() })
			end()
		}
		if err := s.guarded(t.Context(), func() error { return nil }); err != nil {
			t.Errorf("got %v: callers' deadlines opened the breaker", err)
		}
		for range breakAfter {
			slow, end := context.WithTimeout(t.Context(), time.Second)
			_ = s.guarded(slow, func() error { <-slow.Done(); return slow.Err() })
			end()
		}
		if err := s.guarded(t.Context(), func() error { return nil }); !errors.Is(err, errBroken) {
			t.Errorf("got %v: a store that lets callers wait for a second is not left alone", err)
		}
	})
}
