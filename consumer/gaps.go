package consumer

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/cdc"
)

// The reasons of gaps.
const (
	reasonSlotCreated = "slot_created"
	reasonSlotLost    = "slot_lost"
	reasonSlotAhead   = "slot_recreated"
	reasonSlotChanged = "slot_changed"
	reasonNoEvidence  = "evidence_lost"
	reasonSystem      = "system"
	reasonTimeline    = "timeline"
	reasonWALBack     = "wal_moved_back"
	reasonCrash       = "crash"
	reasonGovernor    = "governor"
	reasonTable       = "table_changed"
	reasonPublication = "publication_lost"
)

// GapReasons lists every reason.
func GapReasons() []string {
	return []string{
		reasonSlotCreated, reasonSlotLost, reasonSlotAhead, reasonSlotChanged, reasonNoEvidence, reasonSystem, reasonTimeline,
		reasonWALBack, reasonCrash, reasonGovernor, reasonTable, reasonPublication,
	}
}

// gap is a gap that was declared. It is kept with the evidence until the position has passed its final message, and every session
// publishes it again until then.
type gap struct {
	ID     string          `json:"id"`
	Reason string          `json:"reason"`
	Detail string          `json:"detail,omitempty"`
	Tables []cdc.TableName `json:"tables,omitempty"`
	Time   time.Time       `json:"time"`
	// XMax is pg_snapshot_xmax noted after the cause. Transactions below it may straddle the cause and were not decoded; when
	// none of them can still be running, the final message is due.
	XMax uint64 `json:"xmax"`
	// Passed is true once the position has passed the first message.
	Passed bool `json:"passed,omitempty"`

	due      bool    // the final message may be sent, once the stream has come to
	after    cdc.LSN // what was written when the last transaction that may straddle the cause had ended
	firstSeq uint64  // stream sequence at or behind the first message; zero: not published in this session
	finalSeq uint64  // likewise of the final message
}

// newGap declares a gap whose cause lies in the past of the snapshot in which xmax was read.
func newGap(v verdict, tables []cdc.TableName, xmax uint64) *gap {
	return &gap{
		ID: rand.Text(), Reason: v.reason, Detail: v.detail, Tables: tables, Time: time.Now().UTC(), XMax: xmax,
	}
}

// withGap puts a gap of all tables in front of the others: in a new epoch it stands directly behind the start. It takes the place of one of
// the same reason that the position is not known to have come to, and has an id of its own: the invalidator may have flushed that one
// already, before this one's cause.
func withGap(list []*gap, g *gap) []*gap {
	out := []*gap{g}
	for _, old := range list {
		if old.Reason == g.Reason && len(old.Tables) == 0 && !old.Passed {
			continue
		}
		out = append(out, old)
	}
	return out
}

// message returns the gap's message at lsn.
func (g *gap) message(epoch cdc.Epoch, lsn cdc.LSN, final bool) cdc.Gap {
	return cdc.Gap{
		ID: g.ID, Epoch: epoch, LSN: lsn, Reason: g.Reason, Tables: g.Tables, Final: final, Time: g.Time,
	}
}

// gapBook holds the gaps of a session. The observer declares them and sees them passed; the reader publishes them.
type gapBook struct {
	mu   sync.Mutex
	list []*gap // guarded by mu, with everything they point to
}

// add adds a gap.
func (b *gapBook) add(g *gap) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.list = append(b.list, g)
}

// unpublished returns the message that is to be published next behind the given mark, and which gap it is of; nil when there is none.
func (b *gapBook) unpublished(marked cdc.LSN) (g *gap, final bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, g := range b.list {
		if !g.Passed && g.firstSeq == 0 {
			return g, false
		}
		if g.due && g.finalSeq == 0 && marked >= g.after {
			return g, true
		}
	}
	return nil, false
}

// published notes that g's message stands in the stream at or before seq.
func (b *gapBook) published(g *gap, final bool, seq uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if final {
		g.finalSeq = seq
	} else {
		g.firstSeq = seq
	}
}

// ended notes that no transaction below xmin runs any more, and how far the WAL was written then.
func (b *gapBook) ended(xmin uint64, written cdc.LSN) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, g := range b.list {
		if !g.due && xmin >= g.XMax {
			g.due, g.after = true, written
		}
	}
}

// waiting reports whether a gap waits for transactions to end.
func (b *gapBook) waiting() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, g := range b.list {
		if !g.due {
			return true
		}
	}
	return false
}

// passed notes that the position has reached seq and returns the gaps that are left, and whether anything changed.
func (b *gapBook) passed(seq uint64) (left []*gap, changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	keep := b.list[:0]
	for _, g := range b.list {
		if g.firstSeq != 0 && seq >= g.firstSeq && !g.Passed {
			g.Passed, changed = true, true
		}
		if g.finalSeq != 0 && seq >= g.finalSeq {
			changed = true
			continue
		}
		keep = append(keep, g)
	}
	clear(b.list[len(keep):])
	b.list = keep
	return b.copyLocked(), changed
}

// snapshot returns copies of the gaps, to be saved.
func (b *gapBook) snapshot() []*gap {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.copyLocked()
}

func (b *gapBook) copyLocked() []*gap {
	out := make([]*gap, len(b.list))
	for i, g := range b.list {
		c := *g
		out[i] = &c
	}
	return out
}

// straddlers reads the bounds of the transactions that run now: those at or above xmax begin later, those below xmin have ended.
func straddlers(ctx context.Context, db catalog.DB) (xmin, xmax uint64, err error) {
	var low, high string
	err = db.QueryRow(ctx, "SELECT pg_snapshot_xmin(s)::text, pg_snapshot_xmax(s)::text FROM pg_current_snapshot() AS s").Scan(&low, &high)
	if err != nil {
		return 0, 0, fmt.Errorf("read running transactions: %w", err)
	}
	if xmin, err = strconv.ParseUint(low, 10, 64); err != nil {
		return 0, 0, fmt.Errorf("read running transactions: %w", err)
	}
	if xmax, err = strconv.ParseUint(high, 10, 64); err != nil {
		return 0, 0, fmt.Errorf("read running transactions: %w", err)
	}
	return xmin, xmax, nil
}
