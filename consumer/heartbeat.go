package consumer

import (
	"context"
	"fmt"
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// heartbeatPrefix is the prefix of the messages that we write into the WAL.
const heartbeatPrefix = "freshet"

// heartbeat is the state of the messages that keep an idle slot moving and prove that it does. They prove nothing about the publication.
type heartbeat struct {
	interval time.Duration
	sent     time.Time // of the last message
	lsn      cdc.LSN   // where it stands; zero when it came back
	late     bool      // it has been reported
}

// beat writes a message when nothing of ours has changed for an interval and notices the one that does not come back.
func (s *session) beat(ctx context.Context, h *heartbeat) error {
	now := time.Now()
	received := cdc.LSN(s.received.Load())
	if h.lsn != 0 && received >= h.lsn {
		h.lsn = 0
		if h.late {
			h.late = false
			s.c.heartbeatLate(false)
		}
	}
	if h.lsn != 0 && !h.late && now.Sub(h.sent) > 3*h.interval {
		h.late = true
		s.c.heartbeatLate(true)
		s.c.emit("heartbeat_late", fmt.Sprintf(
			"a message written at %s has not come back through slot %q for %s; the stream has come to %s: look for a transaction that hangs in commit, or for a backlog",
			h.lsn, s.c.cfg.Slot, now.Sub(h.sent).Round(time.Second), received), map[string]any{"lsn": h.lsn.String(), "received": received.String()})
	}
	if h.lsn != 0 || now.Sub(h.sent) < h.interval {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	var text string
	// Transactional, so that its commit flushes it at once.
	err := s.db.QueryRow(ctx, "SELECT pg_logical_emit_message(true, $1, '')::text", heartbeatPrefix).Scan(&text)
	if err != nil {
		return fmt.Errorf("write heartbeat: %w", err)
	}
	if h.lsn, err = cdc.ParseLSN(text); err != nil {
		return fmt.Errorf("write heartbeat: %w", err)
	}
	h.sent = now
	return nil
}

// heartbeatLate notes whether a heartbeat is overdue.
func (c *Consumer) heartbeatLate(late bool) {
	c.status.update(func(st *Status) { st.Late = late })
}
