package stream

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
)

func TestResend(t *testing.T) {
	t.Parallel()
	s := open(t, testConfig(t))
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	requested := func(want bool) {
		t.Helper()
		got, err := s.ResendRequested(ctx)
		if err != nil || got != want {
			t.Fatalf("requested: got %v, %v, want %v", got, err, want)
		}
	}
	requested(false)
	if err := s.RequestResend(ctx, "broken chain"); err != nil {
		t.Fatalf("request: %v", err)
	}
	calls := make(chan struct{}, 16)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.WatchResend(ctx, func() { calls <- struct{}{} }); err != nil {
			t.Errorf("watch: %v", err)
		}
	})
	<-calls // there before the watch
	if err := s.RequestResend(ctx, "broken chain still"); err != nil {
		t.Fatalf("request again: %v", err)
	}
	requested(true)
	if err := s.ClearResend(ctx); err != nil {
		t.Fatalf("clear: %v", err)
	}
	requested(false)
	if err := s.ClearResend(ctx); err != nil {
		t.Fatalf("clear again: %v", err)
	}
	if err := s.RequestResend(ctx, "another break"); err != nil {
		t.Fatalf("request: %v", err)
	}
	<-calls
	cancel()
	wg.Wait()
	if n := len(calls); n != 0 {
		t.Errorf("%d calls too many", n)
	}
}

// TestResendBridges is the way of a request: a break that nothing bridges, the
// request, and a session from further back.
func TestResendBridges(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, trusting bool) (*witness, func()) {
		t.Helper()
		h, x, at := settled(t, open(t, testConfig(t)))
		w := newWitness(t, h.s, at, trusting)
		y := begin(t, h.s, cdc.Start{Epoch: epochA, From: 60}) // skips what it should not
		h.sent(y, 60, 70)
		_ = x
		return w, func() {
			w.until("lost", func() bool { b, _ := w.r.Broken(); return b.Lost })
			if err := h.s.RequestResend(testContext(t), "session starts above the position"); err != nil {
				t.Fatalf("request: %v", err)
			}
			asked := make(chan struct{}, 1)
			ctx, cancel := context.WithCancel(testContext(t))
			defer cancel()
			go func() { _ = h.s.WatchResend(ctx, func() { asked <- struct{}{} }) }()
			<-asked
			h.sent(begin(t, h.s, cdc.Start{Epoch: epochA, From: 51}), 51, 72)
			if err := h.s.ClearResend(testContext(t)); err != nil {
				t.Fatalf("clear: %v", err)
			}
			w.reach(73)
		}
	})
}

func TestRules(t *testing.T) {
	t.Parallel()
	s := open(t, testConfig(t))
	ctx := testContext(t)
	if _, ok, err := s.Rules(ctx, "0badcafe"); ok || err != nil {
		t.Errorf("unknown rules: got %v, %v", ok, err)
	}
	if err := s.SaveRules(ctx, "0badcafe", []byte("rules")); err != nil {
		t.Fatalf("save: %v", err)
	}
	got, ok, err := s.Rules(ctx, "0badcafe")
	if string(got) != "rules" || !ok || err != nil {
		t.Errorf("rules: got %q, %v, %v", got, ok, err)
	}
}

func TestWatermark(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	if _, ok, err := a.LastWatermark(ctx); ok || err != nil {
		t.Errorf("before the first: got %v, %v", ok, err)
	}
	at := func(lsn cdc.LSN) Watermark {
		return Watermark{Epoch: epochA, LSN: lsn, Hold: 3, Time: time.Unix(1_700_000_000, 5000).UTC(), Stream: "s", Seq: 7, ID: "x:7"}
	}
	put := func(lsn cdc.LSN) {
		t.Helper()
		if err := a.PutWatermark(ctx, at(lsn)); err != nil {
			t.Fatalf("put: %v", err)
		}
	}
	put(10)
	got, ok, err := b.LastWatermark(ctx)
	if want := at(10); got != want || !ok || err != nil {
		t.Errorf("last: got %+v, %v, %v, want %+v", got, ok, err, want)
	}
	heard := make(chan Watermark, 16)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := b.WatchWatermark(ctx, func(w Watermark) { heard <- w }); err != nil {
			t.Errorf("watch: %v", err)
		}
	})
	want := func(lsn cdc.LSN) {
		t.Helper()
		for deadline := time.After(patience); ; {
			select {
			case w := <-heard:
				if w.LSN == lsn {
					return
				}
			case <-deadline:
				t.Fatalf("watermark %s was not heard", lsn)
			}
		}
	}
	want(10) // there before the watch
	put(20)
	want(20)
	// One whose announcement was lost is found in the bucket.
	if _, err := a.kv.Put(ctx, keyWatermark, []byte(`{"epoch":"7301:1:0","lsn":"0/1E"}`)); err != nil {
		t.Fatalf("put: %v", err)
	}
	want(30)
	cancel()
	wg.Wait()
}
