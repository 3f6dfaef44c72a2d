package stream

import (
	"testing"

	"github.com/freshet-dev/freshet/internal/cdc"
)

func TestVerified(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		do   func(t *testing.T, h history, x *Session, at Point) Point
		want cdc.LSN // 0: not ok
	}{
		{"to the end", func(t *testing.T, h history, x *Session, at Point) Point {
			t.Helper()
			h.sent(x, 51, 60)
			h.sent(x, 61, 70)
			return at
		}, 71},
		{"nothing new", func(_ *testing.T, _ history, _ *Session, at Point) Point { return at }, 0},
		{"no position", func(t *testing.T, h history, x *Session, _ Point) Point {
			t.Helper()
			h.sent(x, 51, 60)
			return Point{}
		}, 0},
		{"up to a break", func(t *testing.T, h history, x *Session, at Point) Point {
			t.Helper()
			h.sent(x, 51, 60)
			h.raw(h.subject(), "z:2", "z:1", 61, h.info().LastSeq, nil)
			h.raw(h.s.Subjects().Mark(), "z:3", "z:2", 71, h.info().LastSeq, []byte(`{"epoch":"7301:1:0","lsn":"0/47"}`))
			return at
		}, 61},
		{"another message at the position", func(t *testing.T, h history, x *Session, at Point) Point {
			t.Helper()
			h.sent(x, 51, 60)
			at.ID = "other:1"
			at.LSN = 100
			return at
		}, 0},
		{"over a session that sent some again", func(t *testing.T, h history, x *Session, at Point) Point {
			t.Helper()
			h.sent(x, 51, 70)
			y := begin(t, h.s, cdc.Start{Epoch: epochA, From: 40})
			h.sent(y, 40, 60)
			return at
		}, 71},
		{"a stream that is gone", func(t *testing.T, h history, _ *Session, at Point) Point {
			t.Helper()
			if err := h.s.js.DeleteStream(testContext(t), h.s.cfg.streamName()); err != nil {
				t.Fatalf("delete stream: %v", err)
			}
			return at
		}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h, x, at := settled(t, open(t, testConfig(t)))
			from := tc.do(t, h, x, at)
			mark, ok, err := h.s.Verified(testContext(t), from)
			if err != nil {
				t.Fatalf("verified: %v", err)
			}
			if ok != (tc.want > 0) || mark.LSN != tc.want {
				t.Errorf("got %s %v, want %s", mark.LSN, ok, tc.want)
			}
		})
	}
}
