package stream

import (
	"bytes"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
)

func BenchmarkPublish(b *testing.B) {
	s := open(b, testConfig(b))
	ctx := testContext(b)
	x := begin(b, s, cdc.Start{Epoch: epochA, From: 1})
	subject, data := s.Subjects().Changes("public", "orders"), bytes.Repeat([]byte("x"), 200)
	b.ReportAllocs()
	lsn := cdc.LSN(1)
	for b.Loop() {
		lsn++
		if err := x.Publish(ctx, subject, lsn, data); err != nil {
			b.Fatal(err)
		}
	}
	if err := x.Flush(ctx); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
}

func BenchmarkFetch(b *testing.B) {
	const messages = 300_000
	s := open(b, testConfig(b))
	ctx := testContext(b)
	x := begin(b, s, cdc.Start{Epoch: epochA, From: 1})
	subject, data := s.Subjects().Changes("public", "orders"), bytes.Repeat([]byte("x"), 200)
	for i := range messages {
		if err := x.Publish(ctx, subject, cdc.LSN(i+2), data); err != nil {
			b.Fatal(err)
		}
	}
	if err := x.Flush(ctx); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	total := 0
	for b.Loop() {
		r := reader(b, s, Point{})
		for n := 0; n < messages; {
			items, err := r.Fetch(ctx, 1000, time.Second)
			if err != nil {
				b.Fatal(err)
			}
			n += len(items)
			total += len(items)
		}
		_ = r.Close()
	}
	b.ReportMetric(float64(total)/b.Elapsed().Seconds(), "msgs/s")
}

// BenchmarkLoneMessage is the way of one message from Publish to Fetch when
// nothing else flows.
func BenchmarkLoneMessage(b *testing.B) {
	s := open(b, testConfig(b))
	ctx := testContext(b)
	x := begin(b, s, cdc.Start{Epoch: epochA, From: 1})
	r := reader(b, s, Point{})
	fetch(b, r, 1)
	subject, data := s.Subjects().Changes("public", "orders"), bytes.Repeat([]byte("x"), 200)
	for b.Loop() {
		if err := x.Publish(ctx, subject, 2, data); err != nil {
			b.Fatal(err)
		}
		if items, err := r.Fetch(ctx, 1000, 10*time.Second); err != nil || len(items) != 1 {
			b.Fatal(len(items), err)
		}
	}
}
