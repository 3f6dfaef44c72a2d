package stream

import (
	"fmt"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
)

func TestPublishAndRead(t *testing.T) {
	t.Parallel()
	s := open(t, testConfig(t))
	ctx := testContext(t)
	x := begin(t, s, cdc.Start{Epoch: epochA, From: 10})
	subject := s.Subjects().Changes("public", "orders")
	for i := range 3 {
		if err := x.Publish(ctx, subject, cdc.LSN(20+i), fmt.Appendf(nil, `{"n":%d}`, i)); err != nil {
			t.Fatalf("publish: %v", err)
		}
	}
	marked := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	if err := x.Mark(ctx, cdc.Mark{Epoch: epochA, LSN: 30, Time: marked}); err != nil {
		t.Fatalf("mark: %v", err)
	}
	if err := x.Flush(ctx); err != nil {
		t.Fatalf("flush: %v", err)
	}
	if got, want := x.AckedMark(), cdc.LSN(30); got != want {
		t.Errorf("acked mark: got %s, want %s", got, want)
	}
	r := reader(t, s, Point{})
	items := fetch(t, r, 5)
	for _, item := range items {
		if item.Movable {
			t.Errorf("item %d is movable without a position", item.Seq)
		}
	}
	b, broken := r.Broken()
	if !broken || !b.Lost || b.Point.LSN != 10 || b.Point.Seq != 1 {
		t.Fatalf("a fresh reader: got broken %v %+v, want lost at sequence 1 and LSN 0/A", broken, b)
	}
	r.Adopt(b.Point)
	if b, broken := r.Broken(); broken {
		t.Fatalf("broken after adopting: %+v", b)
	}
	if err := x.Publish(ctx, subject, 31, []byte(`{}`)); err != nil {
		t.Fatalf("publish: %v", err)
	}
	last := fetch(t, r, 1)[0]
	info, err := s.Info(ctx)
	if err != nil {
		t.Fatalf("info: %v", err)
	}
	want := Point{Stream: info.ID, Seq: 6, ID: last.ID, LSN: 30, Time: marked, Epoch: epochA}
	if got := last.Point; !last.Movable || got != want {
		t.Errorf("point: got %+v movable %v, want %+v", got, last.Movable, want)
	}
	if last.LSN != 31 || last.Kind != KindChange || string(last.Data) != `{}` || last.Subject != subject {
		t.Errorf("item: got %+v", last)
	}
}
