package demo

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/freshet-dev/freshet/invalidator"
)

// linesPerSecond bounds the live view: what scrolls faster is not read.
const linesPerSecond = 6

// liveView prints which rows changed, which keys went, and how long after the
// commit. It also counts everything for the summary.
type liveView struct {
	colour bool

	mu       sync.Mutex
	out      io.Writer       // guarded by mu, as is all below; nil shows nothing
	latency  []time.Duration // one per row change seen, capped by latencyCap
	changes  int
	removed  int
	skipped  int // batches not shown since the last line
	window   time.Time
	inWindow int
}

// latencyCap bounds the summary's memory: about 8 MB.
const latencyCap = 1 << 20

// applied is the invalidator's observer.
func (v *liveView) applied(a invalidator.Applied) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.changes += a.Rows
	v.removed += a.Removed
	for _, c := range a.Changes {
		if len(v.latency) < latencyCap {
			v.latency = append(v.latency, c.Lag)
		}
	}
	if v.out == nil || len(a.Changes) == 0 || len(a.Keys)+len(a.Patterns) == 0 {
		return
	}
	if a.At.Sub(v.window) >= time.Second {
		v.window, v.inWindow = a.At, 0
	}
	if v.inWindow++; v.inWindow > linesPerSecond {
		v.skipped++
		return
	}
	v.print(a)
}

func (v *liveView) print(a invalidator.Applied) {
	first := a.Changes[0]
	what := fmt.Sprintf("%-6s %s", first.Op, first.Table.Table)
	if more := a.Rows - 1; more > 0 {
		what += fmt.Sprintf(" +%d", more)
	}
	targets := strings.Join(append(append([]string(nil), a.Keys...), a.Patterns...), " ")
	const width = 74
	if len(targets) > width {
		targets = targets[:width-1] + "…"
	}
	note := ""
	if v.skipped > 0 {
		note = fmt.Sprintf("  (%d more)", v.skipped)
		v.skipped = 0
	}
	dim, plain, green := "", "", ""
	if v.colour {
		dim, plain, green = "\x1b[2m", "\x1b[0m", "\x1b[32m"
	}
	say(v.out, "%s%s%s  %-22s %s%7s%s  → %s%s%s%s\n",
		dim, a.At.Format("15:04:05.000"), plain, what, green, millis(first.Lag), plain, targets, dim, note, plain)
}

// reset forgets what was seen so far: the seed data is not traffic.
func (v *liveView) reset() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.latency, v.changes, v.removed = nil, 0, 0
}

// show says where lines go from now on; nil for nowhere.
func (v *liveView) show(out io.Writer) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.out = out
}

// measured returns what the summary needs.
func (v *liveView) measured() (changes, removed int, latency []time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.changes, v.removed, append([]time.Duration(nil), v.latency...)
}

// millis prints a duration in milliseconds with two digits after the point.
func millis(d time.Duration) string {
	return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
}
