package invalidator

import (
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/stream"
)

// batch is what the reading side hands to the applying side: evaluated, not
// yet applied.
type batch struct {
	evaluator *rule.Evaluator // owns result; given back when the batch is applied
	result    *rule.Result

	messages int
	rows     int

	// point is where the position may go once everything in this batch and
	// before it is applied; movable is false when the batch holds no message
	// that the position may stand on.
	point   stream.Point
	movable bool

	ahead cdc.LSN
	epoch cdc.Epoch

	poisoned bool // it holds a message that cannot be read, and so has no LSN

	gaps    []gapNote   // gaps passed, in stream order
	flushes []*flush    // coverage that has to go before the position moves over this batch
	commits []time.Time // commit times of the batch's transactions
	changes []Change    // for the observer, up to MaxObserved
}

// empty reports whether Redis has nothing to do for the batch.
func (b *batch) empty() bool {
	r := b.result
	if r != nil && (len(r.Keys) > 0 || len(r.Tags) > 0 || r.AllTags) {
		return false
	}
	for _, f := range b.flushes {
		if len(f.keys) > 0 || len(f.tags) > 0 || f.allTags {
			return false
		}
	}
	return b.ahead == 0
}
