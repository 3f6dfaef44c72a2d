package check_test

import (
	"testing"

	"github.com/freshet-dev/freshet/internal/check"
)

func TestEverythingInPlace(t *testing.T) {
	t.Parallel()
	b := start(t, map[string]string{"max_slot_wal_keep_size": "30GB"}, orders...)
	b.cfg.Stream.MaxBytes = 1 << 30
	b.limitRedis(t)
	report := b.check(t)
	if report.Failed() || report.Invalid {
		t.Fatalf("got\n%s", text(t, report))
	}
	t.Log("\n" + text(t, report))
	for _, l := range report.Lines {
		if l.Status != check.OK {
			t.Errorf("%s %s: got %s %s, want ok", l.Area, l.Check, l.Status, l.Text)
		}
	}
	if script := report.Script(); script != "" {
		t.Errorf("nothing to mend, got the script\n%s", script)
	}
}
