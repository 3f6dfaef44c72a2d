package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/monitor"
)

func report(role, id string, at time.Time, ready bool, status string) monitor.Report {
	r := monitor.Report{V: 1, Instance: "shop", Role: role, ID: id, Version: "1.2.3", Started: at.Add(-time.Hour), Time: at, Ready: ready, Status: json.RawMessage(status)}
	if !ready {
		r.Reason = "redis_down: start Redis"
	}
	return r
}

func TestBoard(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC)
	b := newBoard("shop")
	if text := b.draw(now, 100, 40, true, false); !strings.Contains(text, "invalidator: none is active") || !strings.Contains(text, "no consumer reads the slot") {
		t.Errorf("of nothing: got %s", text)
	}
	position := now.Add(-120 * time.Millisecond).Format(time.RFC3339Nano)
	for i, changes := range []string{"100", "350"} {
		at := now.Add(time.Duration(i-1) * time.Second)
		b.hear(report("consumer", "a", at, true, `{"state":"streaming","lag_bytes":2048,"lag_seconds":0.25,"rate":250,"retained_wal":1048576,
			"tables":[{"schema":"public","table":"orders","op":"update","changes":`+changes+`}]}`), now)
	}
	b.hear(report("consumer", "0", now, true, `{"state":"waiting_for_slot","lag_bytes":99999,"rate":12345}`), now) // stands by
	b.hear(report("invalidator", "b", now, true, `{"state":"active","active":true,"changes_per_second":249,"position":{"time":"`+position+`"},
		"latency":{"count":5,"p50":500000,"p99":2000000},"rules":[{"rule":"orders","keys":7,"patterns":2,"tags":0}]}`), now)
	b.hear(report("invalidator", "c", now, true, `{"state":"waiting"}`), now)
	b.hear(report("invalidator", "gone", now, true, `{"state":"waiting"}`), now.Add(-time.Minute))
	text := b.draw(now, 100, 40, true, false)
	for _, want := range []string{
		"freshet shop", "Every change committed more than a second ago is applied", "1.0 MiB kept", "250 rows/s", "2.0 KiB, 250ms behind", "249 rows/s",
		"p50 500µs, p99 2ms", "watermark 120ms", "q quits", "1.2.3", "1h0m0s",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if !lineWith(text, "public.orders", "update", "350", "250") || !lineWith(text, "orders", "7", "2", "0") {
		t.Errorf("tables or rules are not shown:\n%s", text)
	}
	if strings.Contains(text, "gone") || strings.Contains(text, "12345") || strings.Contains(text, "!") || strings.Contains(text, "\x1b[1") {
		t.Errorf("got what should not be there:\n%s", text)
	}

	b.hear(report("invalidator", "b", now, false, `{"state":"redis_down","active":true}`), now)
	text = b.draw(now, 100, 40, true, true)
	if !strings.Contains(text, "! invalidator b: redis_down: start Redis") || !strings.Contains(text, "\x1b[1;31m") {
		t.Errorf("an alarm is not shown:\n%s", text)
	}
	for _, line := range strings.Split(b.draw(now, 20, 5, true, true), "\r\n") {
		plain := strings.NewReplacer("\x1b[1;31m", "", "\x1b[1;32m", "", "\x1b[1m", "", "\x1b[0m", "", "\x1b[K", "").Replace(line)
		if n := len([]rune(plain)); n > 20 {
			t.Errorf("%d characters in a line of 20: %q", n, plain)
		}
	}
	if n := strings.Count(b.draw(now, 80, 5, true, false), "\r\n"); n != 4 {
		t.Errorf("got %d line ends on a screen of 5 lines", n)
	}
	if _, errOut, status := freshet(t, "top", "--nats", "nats://127.0.0.1:1", "--name", "shop"); status != 2 || !strings.Contains(errOut, "terminal") {
		t.Errorf("without a terminal: got %d, %s", status, errOut)
	}
}

// lineWith reports whether some line has exactly these words.
func lineWith(text string, words ...string) bool {
	for _, line := range strings.Split(strings.ReplaceAll(text, "\x1b[K", ""), "\r\n") {
		if strings.Join(strings.Fields(line), " ") == strings.Join(words, " ") {
			return true
		}
	}
	return false
}
