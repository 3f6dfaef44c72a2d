package consumer

import (
	"context"
	"errors"
	"fmt"

	"github.com/freshet-dev/freshet/internal/catalog"
)

const (
	// governorLeast keeps the governor quiet while little is retained: a server with a small max_slot_wal_keep_size has little
	// room left at any time.
	governorLeast = 64 << 20
	// governorShare of what the server would keep has to be left.
	governorShare = 0.1
)

// errGovernor ends a session so that the next one begins at the server's present position.
var errGovernor = errors.New("the slot retains too much wal")

// govern keeps the primary's disk from filling up (I9). Caches can be emptied, disks cannot.
func (s *session) govern(slot *catalog.Slot) error {
	limit := s.c.cfg.MaxWAL
	nearlyGone := slot.SafeBytes >= 0 && slot.Retained > governorLeast &&
		float64(slot.SafeBytes) < governorShare*float64(slot.SafeBytes+slot.Retained)
	switch {
	case slot.Retained > 2*limit, nearlyGone:
		s.c.requestGovernor()
		return fmt.Errorf("%w: %d bytes, max_wal %d, %d bytes are left", errGovernor, slot.Retained, limit, slot.SafeBytes)
	case slot.Retained > limit:
		if !s.published.Swap(true) {
			s.c.emit("governor", fmt.Sprintf(
				"the slot retains %d bytes of WAL, more than max_wal (%d): what is published is confirmed without waiting for the invalidator; find out why it is behind",
				slot.Retained, limit), map[string]any{"retained": slot.Retained, "max_wal": limit})
		}
	case slot.Retained < limit-limit/4:
		s.published.Store(false)
	}
	return nil
}

// skipBacklog gives the backlog up: it confirms up to the present and declares the gap. Nobody reads the slot now.
func (s *session) skipBacklog(ctx context.Context, kept *evidence, o *opening) (verdict, error) {
	found := verdict{
		reason: reasonGovernor,
		detail: fmt.Sprintf("the slot retained %d bytes of WAL, more than twice max_wal (%d) or all that the server keeps", o.slot.Retained, s.c.cfg.MaxWAL),
	}
	_, present, err := catalog.Positions(ctx, s.db)
	if err != nil {
		return verdict{}, err
	}
	_, xmax, err := straddlers(ctx, s.db)
	if err != nil {
		return verdict{}, err
	}
	// Recorded before it is done: should we end in between, the gap is declared for nothing.
	kept.Confirmed = max(kept.Confirmed, present)
	kept.Gaps = append(kept.Gaps, newGap(found, nil, xmax))
	if err := s.store.save(ctx, kept); err != nil {
		return verdict{}, err
	}
	if _, err := s.db.Exec(ctx, "SELECT pg_replication_slot_advance($1, $2::pg_lsn)", s.c.cfg.Slot, present.String()); err != nil {
		return verdict{}, fmt.Errorf("advance slot %q to %s: %w", s.c.cfg.Slot, present, err)
	}
	kept.Gaps = kept.Gaps[:len(kept.Gaps)-1] // the one that is declared now takes its place
	if o.slot, err = catalog.ReadSlot(ctx, s.db, s.c.cfg.Slot); err != nil {
		return verdict{}, err
	}
	if o.slot == nil {
		return verdict{}, fmt.Errorf("slot %q is gone", s.c.cfg.Slot)
	}
	s.c.emit("governor", found.detail+": the backlog was given up and the caches are flushed", map[string]any{"slot": s.c.cfg.Slot})
	return found, nil
}
