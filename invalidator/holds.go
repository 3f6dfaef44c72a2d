package invalidator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/stream"
)

// gapNote is a gap message that the position passes with its entry.
type gapNote struct {
	id        string
	final     bool
	all       bool         // about every table
	sameEpoch bool         // LSNs before and after the gap may be compared
	before    stream.Point // what stood before it
}

// holds keeps the gaps whose second flush is still due. Until it is done,
// transactions that straddled the gap's cause may still commit without ever
// being decoded, so only what was known before the gap may be believed.
type holds struct {
	pending []string            // in the order in which they were declared
	ended   map[string]struct{} // gaps whose final message was passed
	// unknown is set when a position with a hold was found and the gap it
	// belongs to was not: the next final of a gap that is not pending ends it.
	unknown bool
	lsn     cdc.LSN   // what may be believed; 0: everything
	time    time.Time // likewise
	changed bool      // pending is not what is kept in the bucket
}

// nothing is the hold that lets no LSN be believed: those from before the gap
// belong to another epoch.
const nothing cdc.LSN = 1

// pass notes a gap message that the position passes.
func (h *holds) pass(g gapNote) {
	if g.final {
		h.passFinal(g)
		return
	}
	// A session repeats a gap message until the position has passed it; the
	// repetition of one that has ended holds nothing.
	if _, ended := h.ended[g.id]; ended {
		return
	}
	if !slices.Contains(h.pending, g.id) {
		h.pending = append(h.pending, g.id)
		h.changed = true
	}
	lsn := max(g.before.LSN, nothing)
	if !g.sameEpoch {
		lsn = nothing
	}
	if h.lsn == 0 {
		h.lsn, h.time = lsn, g.before.Time
		return
	}
	h.lsn = min(h.lsn, lsn)
	if g.before.Time.Before(h.time) {
		h.time = g.before.Time
	}
}

func (h *holds) passFinal(g gapNote) {
	if h.ended == nil {
		h.ended = make(map[string]struct{})
	}
	h.ended[g.id] = struct{}{}
	i := slices.Index(h.pending, g.id)
	switch {
	case i < 0:
		h.unknown = false
	case g.all:
		// What straddled a gap declared earlier has ended too, and its tables
		// were flushed with all others.
		h.pending = slices.Delete(h.pending, 0, i+1)
		h.changed, h.unknown = true, false
	default:
		h.pending = slices.Delete(h.pending, i, i+1)
		h.changed = true
	}
	if len(h.pending) == 0 && !h.unknown {
		h.lsn, h.time = 0, time.Time{}
	}
}

// keyHolds is where the names of pending gaps are kept in the KV bucket. The
// stream has them too, unless it is lost.
const keyHolds = "invalidator.holds"

// keepHolds keeps the names of the pending gaps, before a position depends on
// them.
func (v *Invalidator) keepHolds(ctx context.Context, h *holds) error {
	if !h.changed {
		return nil
	}
	data, err := json.Marshal(h.pending)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	if _, err := v.stream.KV().Put(ctx, keyHolds, data); err != nil {
		return fmt.Errorf("%w: keep the pending gaps: %w", errNATS, err)
	}
	h.changed = false
	return nil
}

// findHolds finds the gaps whose final message does not stand before the
// point: those that the stream names up to there, and those that were kept.
func (v *Invalidator) findHolds(ctx context.Context, point stream.Point) (holds, error) {
	h := holds{changed: true}
	entry, err := v.stream.KV().Get(ctx, keyHolds)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
	case err != nil:
		return h, fmt.Errorf("%w: read the pending gaps: %w", errNATS, err)
	case json.Unmarshal(entry.Value(), &h.pending) != nil:
		h.pending = nil
	}
	info, err := v.stream.Info(ctx)
	if err != nil {
		return h, fmt.Errorf("%w: look up the change stream: %w", errNATS, err)
	}
	if info.ID != point.Stream {
		return h, nil
	}
	for seq := uint64(1); seq <= point.Seq; {
		msg, err := v.retained(ctx, map[string]any{"seq": seq, "next_by_subj": v.stream.Subjects().Gap()})
		if errors.Is(err, errNoMessage) {
			break
		}
		if err != nil {
			return h, err
		}
		if msg.Seq > point.Seq {
			break
		}
		seq = msg.Seq + 1
		var gap cdc.Gap
		if json.Unmarshal(msg.Data, &gap) == nil && gap.ID != "" {
			h.pass(gapNote{id: gap.ID, final: gap.Final, all: len(gap.Tables) == 0})
		}
	}
	h.lsn = 0
	return h, nil
}
