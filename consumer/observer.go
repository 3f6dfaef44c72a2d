package consumer

import (
	"context"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/cdc"
)

const (
	observeInterval     = time.Second
	fingerprintInterval = 800 * time.Millisecond // at every look: ticks come a little early
	observeTimeout      = 10 * time.Second
)

// observe watches the server on a connection of its own while the reader reads: clock samples for marks, the guards, retained WAL,
// the heartbeat, the tables, what may be confirmed. It owns the evidence. Its error ends the session.
func (s *session) observe(ctx context.Context) error {
	samples := time.NewTicker(min(s.c.cfg.MarkInterval, tick))
	defer samples.Stop()
	seconds := time.NewTicker(observeInterval)
	defer seconds.Stop()
	beat := heartbeat{interval: s.c.cfg.Heartbeat}
	defer s.c.heartbeatLate(false) // the next session sends its own
	tables := tableWatch{}
	if err := s.sample(ctx); err != nil {
		return quiet(ctx, err)
	}
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-samples.C:
			err = s.sample(ctx)
		case <-seconds.C:
			err = s.inspect(ctx)
			if err == nil {
				err = s.beat(ctx, &beat)
			}
			if err == nil {
				err = s.watchTables(ctx, &tables)
			}
			if err == nil {
				err = s.watchGaps(ctx)
			}
			if err == nil {
				err = s.confirm(ctx)
			}
		}
		if err != nil {
			return quiet(ctx, err)
		}
	}
}

// quiet drops an error that only says that ctx has ended.
func quiet(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // what it is for
	}
	return err
}

// sample gives the marks' clock a pair of time and WAL position.
func (s *session) sample(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	at := time.Now().UTC()
	var text string
	if err := s.db.QueryRow(ctx, "SELECT pg_current_wal_insert_lsn()::text").Scan(&text); err != nil {
		return fmt.Errorf("read wal position: %w", err)
	}
	insert, err := cdc.ParseLSN(text)
	if err != nil {
		return fmt.Errorf("read wal position: %w", err)
	}
	s.clock.add(at, s.geometry.settle(insert))
	return nil
}

// inspect looks at slot and walsender.
func (s *session) inspect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	var text string
	var seen guards
	err := s.db.QueryRow(ctx, guardSQL, s.c.cfg.Slot, int64(s.repl.pid)).
		Scan(&text, &seen.recovery, &seen.activePID, &seen.present, &seen.syncState)
	if err != nil {
		return fmt.Errorf("look at the walsender: %w", err)
	}
	if err := seen.check(s.c.cfg.Slot, s.repl.pid); err != nil {
		return err
	}
	slot, err := catalog.ReadSlot(ctx, s.db, s.c.cfg.Slot)
	if err != nil {
		return err
	}
	if slot == nil {
		return fmt.Errorf("slot %q is gone", s.c.cfg.Slot)
	}
	insert, _, err := catalog.Positions(ctx, s.db)
	if err != nil {
		return err
	}
	s.report(slot, insert)
	return s.govern(slot, insert)
}

// report brings the status up to date.
func (s *session) report(slot *catalog.Slot, end cdc.LSN) {
	s.c.status.update(func(st *Status) {
		st.Confirmed = slot.Confirmed
		st.WALEnd = end
		st.LagBytes = max(0, int64(end)-int64(slot.Confirmed))
		st.Retained = slot.Retained
		st.Governor = s.published.Load()
		if w := s.c.watermark.Load(); w != nil {
			st.Applied = w.LSN
		}
	})
}

// watchGaps sees which gaps have waited long enough for their final message, and which the position has passed.
func (s *session) watchGaps(ctx context.Context) error {
	if s.gaps.waiting() {
		ctx, cancel := context.WithTimeout(ctx, observeTimeout)
		defer cancel()
		xmin, _, err := straddlers(ctx, s.db)
		if err != nil {
			return err
		}
		insert, _, err := catalog.Positions(ctx, s.db)
		if err != nil {
			return err
		}
		s.gaps.ended(xmin, s.geometry.settle(insert))
	}
	defer func() { s.c.status.update(func(st *Status) { st.PendingGaps = len(s.evidence.Gaps) }) }()
	w := s.c.watermark.Load()
	if w == nil || w.Stream != s.ledger.stream || w.Epoch != s.epoch {
		return nil
	}
	left, changed := s.gaps.passed(w.Seq)
	if !changed {
		return nil
	}
	s.evidence.Gaps = left
	return s.store.save(ctx, s.evidence)
}

// declareGap keeps a gap with the evidence and has the reader publish it.
func (s *session) declareGap(ctx context.Context, g *gap) error {
	s.gaps.add(g)
	s.evidence.Gaps = s.gaps.snapshot()
	if err := s.store.save(ctx, s.evidence); err != nil {
		return err
	}
	s.c.announceGap(g)
	return nil
}
