package consumer

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// tallyInterval is how often the reader brings the counts of its batcher.
const tallyInterval = time.Second

// TableCount is how many changes of one kind were published since the consumer was made.
type TableCount struct {
	Schema  string `json:"schema"`
	Table   string `json:"table"`
	Op      cdc.Op `json:"op"`
	Changes uint64 `json:"changes"`
}

type tallyKey struct {
	table cdc.TableName
	op    cdc.Op
}

// tally adds up what the batchers of all sessions counted, and tells the present rate.
type tally struct {
	mu      sync.Mutex
	ended   map[tallyKey]uint64 // of sessions that have ended; guarded by mu
	current map[tallyKey]uint64 // of the present one; guarded by mu
	at      time.Time           // when current was brought; guarded by mu
	total   uint64              // in current; guarded by mu
	rate    float64             // guarded by mu
}

// record brings the counts of the present session's batcher, once in a while.
func (t *tally) record(b *batcher, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	elapsed := now.Sub(t.at)
	if elapsed < tallyInterval {
		return
	}
	t.current = make(map[tallyKey]uint64)
	total := uint64(0)
	b.counts(func(table cdc.TableName, op cdc.Op, n uint64) {
		t.current[tallyKey{table, op}] = n
		total += n
	})
	t.rate = 0
	if elapsed < 5*tallyInterval {
		t.rate = float64(total-t.total) / elapsed.Seconds()
	}
	t.at, t.total = now, total
}

// close ends the present session's counts.
func (t *tally) close(b *batcher) {
	t.record(b, time.Now().Add(tallyInterval))
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended == nil {
		t.ended = make(map[tallyKey]uint64)
	}
	for k, n := range t.current {
		t.ended[k] += n
	}
	t.current, t.total, t.rate, t.at = nil, 0, 0, time.Time{}
}

// snapshot returns the counts, sorted, and the rate over the last second or so.
func (t *tally) snapshot(now time.Time) ([]TableCount, float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []TableCount
	for k, n := range t.ended {
		out = append(out, TableCount{k.table.Schema, k.table.Table, k.op, n + t.current[k]})
	}
	for k, n := range t.current {
		if _, ok := t.ended[k]; !ok {
			out = append(out, TableCount{k.table.Schema, k.table.Table, k.op, n})
		}
	}
	slices.SortFunc(out, func(a, b TableCount) int {
		return cmp.Or(cmp.Compare(a.Schema, b.Schema), cmp.Compare(a.Table, b.Table), cmp.Compare(a.Op, b.Op))
	})
	if now.Sub(t.at) > 2*tallyInterval {
		return out, 0
	}
	return out, t.rate
}
