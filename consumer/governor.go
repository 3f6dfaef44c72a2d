package consumer

import (
	"context"
	"errors"
	"fmt"

	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/cdc"
)

const (
	// governorLeast is what must be behind for the backlog to be given up when the server is about to: with a small
	// max_slot_wal_keep_size there is little room left at any time.
	governorLeast = 64 << 20
	// governorShare of what the server would keep has to be left.
	governorShare = 0.1
	// nearLimit is the share of max_wal from which on retained WAL is warned of, and nearCleared the one below which it is forgotten.
	nearLimit, nearCleared = 0.8, 0.7
)

// errGovernor ends a session so that the next one begins at the server's present position.
var errGovernor = errors.New("the slot retains too much wal")

// govern keeps the primary's disk from filling up (I9). Caches can be emptied, disks cannot.
func (s *session) govern(slot *catalog.Slot, end cdc.LSN) error {
	limit := s.c.cfg.MaxWAL
	if s.c.mustGiveUp(slot, end) {
		return fmt.Errorf("%w: %d bytes, max_wal %d, %d bytes are left", errGovernor, slot.Retained, limit, slot.SafeBytes)
	}
	switch {
	case slot.Retained > limit:
		if !s.published.Swap(true) {
			s.c.emit("governor", fmt.Sprintf(
				"the slot retains %d bytes of WAL, more than max_wal (%d): what is published is confirmed without waiting for the invalidator; "+
					"find out why that is behind, or end the transaction that has been open for longest",
				slot.Retained, limit), map[string]any{"retained": slot.Retained, "max_wal": limit})
		}
	case slot.Retained < limit-limit/4:
		s.published.Store(false)
	}
	s.c.warnOfLimit(slot.Retained)
	return nil
}

// warnOfLimit says once that retained WAL comes near max_wal.
func (c *Consumer) warnOfLimit(retained int64) {
	share := float64(retained) / float64(c.cfg.MaxWAL)
	news := false
	c.status.update(func(st *Status) {
		news = share >= nearLimit && !st.NearLimit
		st.NearLimit = share >= nearLimit || st.NearLimit && share >= nearCleared
	})
	if news {
		c.emit("slot_limit", fmt.Sprintf(
			"the slot retains %d bytes of WAL, %.0f %% of max_wal (%d); find out why the invalidator is behind, or end the transaction that has been open for longest",
			retained, 100*share, c.cfg.MaxWAL), map[string]any{"retained": retained, "max_wal": c.cfg.MaxWAL})
	}
}

// mustGiveUp reports whether the backlog has to be given up. What is retained for a transaction that is open, and not because we are
// behind, would not go away with it.
func (c *Consumer) mustGiveUp(slot *catalog.Slot, end cdc.LSN) bool {
	behind := int64(end) - int64(slot.Confirmed)
	nearlyGone := slot.SafeBytes >= 0 && float64(slot.SafeBytes) < governorShare*float64(slot.SafeBytes+slot.Retained)
	return slot.Retained > 2*c.cfg.MaxWAL && behind > c.cfg.MaxWAL || nearlyGone && behind > governorLeast
}

// giveUp confirms up to the present and returns the gap that this makes. Nobody reads the slot now.
func (s *session) giveUp(ctx context.Context, kept *evidence, o *opening, found verdict) error {
	_, present, err := catalog.Positions(ctx, s.db)
	if err != nil {
		return err
	}
	_, xmax, err := straddlers(ctx, s.db)
	if err != nil {
		return err
	}
	// Recorded before it is done: should we end in between, the gap is declared for nothing.
	kept.Confirmed = max(kept.Confirmed, present)
	before := kept.Gaps
	kept.Gaps = withGap(before, newGap(found, nil, xmax))
	if err := s.store.save(ctx, kept); err != nil {
		return err
	}
	if _, err := s.db.Exec(ctx, "SELECT pg_replication_slot_advance($1, $2::pg_lsn)", s.c.cfg.Slot, present.String()); err != nil {
		return fmt.Errorf("advance slot %q to %s: %w", s.c.cfg.Slot, present, err)
	}
	if o.slot, err = catalog.ReadSlot(ctx, s.db, s.c.cfg.Slot); err != nil {
		return err
	}
	if o.slot == nil {
		return fmt.Errorf("slot %q is gone", s.c.cfg.Slot)
	}
	return nil
}
