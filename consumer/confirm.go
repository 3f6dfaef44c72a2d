package consumer

import (
	"context"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// confirmable returns what the slot may forget: every transaction with a commit LSN below it is applied, or published where that is
// what counts (I2). Postgres keeps a transaction whose commit LSN is at or above the confirmed LSN, so a mark's LSN confirms exactly
// what stands before the mark. Keepalives are among the marks: an idle slot moves with them.
func (s *session) confirmable() cdc.LSN {
	lsn := s.confirmed
	if s.c.cfg.Confirm == Published || s.published.Load() {
		lsn = max(lsn, s.chain.AckedMark())
	}
	if s.c.cfg.Confirm == Applied {
		// LSNs of another epoch say nothing here. What this session has not come to yet cannot be known to be applied.
		if w := s.c.watermark.Load(); w != nil && w.Epoch == s.epoch {
			lsn = max(lsn, min(w.LSN, cdc.LSN(s.marked.Load())))
		}
	}
	return lsn
}

// confirm lets the reader's next status confirm what is confirmable. The evidence is saved before: a slot found beyond it
// was moved by somebody else.
func (s *session) confirm(ctx context.Context) error {
	lsn := s.confirmable()
	if lsn <= cdc.LSN(s.flushed.Load()) {
		return nil
	}
	if before := s.evidence.Confirmed; lsn > before {
		s.evidence.Confirmed = lsn
		if err := s.store.save(ctx, s.evidence); err != nil {
			s.evidence.Confirmed = before // the last confirmation of the session must not take it as saved
			return err
		}
	}
	s.confirmed = lsn
	s.flushed.Store(uint64(lsn))
	return nil
}
