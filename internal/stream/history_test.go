package stream

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// A history ends where the stream ended when it was opened, and knows when part of
// it was removed: before it was opened, or while it was read.
func TestHistoryKnowsWhatIsMissing(t *testing.T) {
	t.Parallel()
	s := open(t, testConfig(t))
	ctx := testContext(t)
	x := begin(t, s, cdc.Start{Epoch: epochA, From: 1})
	publish := func(from, to int) {
		t.Helper()
		for lsn := from; lsn < to; lsn++ {
			if err := x.Publish(ctx, s.Subjects().Changes("public", "orders"), cdc.LSN(lsn), []byte("{}")); err != nil {
				t.Fatal(err)
			}
		}
		if err := x.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	rest := func(h *History) (lsns []cdc.LSN) {
		t.Helper()
		for {
			items, err := h.Next(ctx, 7)
			if errors.Is(err, io.EOF) {
				return lsns
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, item := range items {
				if item.Kind == KindChange {
					lsns = append(lsns, item.LSN)
				}
			}
		}
	}
	history := func(since time.Time, lsn cdc.LSN) *History {
		t.Helper()
		h, err := s.History(ctx, since, lsn)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	expect := func(what string, h *History, first, last cdc.LSN, n int, complete bool) {
		t.Helper()
		lsns := rest(h)
		if len(lsns) != n || n > 0 && (lsns[0] != first || lsns[n-1] != last) || h.Complete != complete {
			t.Errorf("%s: got %v, complete %v, want %d from %s to %s, complete %v", what, lsns, h.Complete, n, first, last, complete)
		}
	}
	stream, err := s.JetStream().Stream(ctx, "freshet-shop")
	if err != nil {
		t.Fatal(err)
	}
	remove := func(seq uint64) {
		t.Helper()
		if err := stream.DeleteMsg(ctx, seq); err != nil {
			t.Fatal(err)
		}
	}

	publish(1, 51) // sequences 2 to 51, behind the start
	middle, err := stream.GetMsg(ctx, 31)
	if err != nil {
		t.Fatal(err)
	}
	all, some, later := history(time.Time{}, 0), history(middle.Time, 0), history(time.Time{}, 20)
	publish(51, 61)
	expect("of everything", all, 1, 50, 50, true)
	expect("from a time", some, 30, 50, 21, true)
	expect("from an LSN", later, 20, 50, 31, true)
	expect("of the future", history(time.Now().Add(time.Hour), 0), 0, 0, 0, true)

	reading := history(time.Time{}, 0)
	if _, err := reading.Next(ctx, 5); err != nil {
		t.Fatal(err)
	}
	remove(40) // as a limit would, if what is older had gone too
	expect("removed while it was read", reading, 5, 60, 55, false)

	remove(1)
	remove(2)
	expect("of what begins later", history(middle.Time, 0), 30, 60, 30, false) // 40 is missing
	remove(3)
	expect("of what was removed", history(time.Time{}, 1), 3, 60, 57, false)
	expect("from an LSN above it", history(time.Time{}, 50), 50, 60, 11, true)
}
