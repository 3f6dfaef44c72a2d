package consumer

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

//go:embed guard.sql
var guardSQL string

const (
	snapshotSQL   = "SELECT pg_current_snapshot()::text, pg_is_in_recovery()"
	guardInterval = time.Second
	snapshotAge   = time.Minute
	gateTimeout   = 10 * time.Second // for one query; a server that does not answer is given up
)

// gate knows which transactions every new snapshot sees. Logical decoding sends a transaction as soon as its commit
// record is flushed, which is before it leaves the list of running ones; the gate is what stands in between (I1).
//
// It belongs to one session and one goroutine, and its answers come from a connection of its own.
type gate struct {
	conn *pgx.Conn
	slot string
	pid  uint32 // the walsender's
	off  bool

	known   snapshot
	taken   time.Time // when known was asked for
	guarded time.Time // when the guards were last found in order
}

// visible reports whether the last snapshot taken shows xid. A snapshot is not kept for long, lest so many transactions begin meanwhile that
// nearness misleads.
func (g *gate) visible(xid uint32) bool {
	return g.off || g.known.shows(xid) && time.Since(g.taken) < snapshotAge
}

// poll takes a new snapshot. With guard, or when the last check is old, it also makes sure that the snapshot comes from the
// server that runs our walsender and that no commit waits for us.
func (g *gate) poll(ctx context.Context, guard bool) error {
	ctx, cancel := context.WithTimeout(ctx, gateTimeout)
	defer cancel()
	var text string
	taken := time.Now()
	if !guard && time.Since(g.guarded) < guardInterval {
		var recovery bool
		if err := g.conn.QueryRow(ctx, snapshotSQL).Scan(&text, &recovery); err != nil {
			return fmt.Errorf("take snapshot: %w", err)
		}
		if recovery {
			return errRecovery()
		}
	} else {
		var seen guards
		err := g.conn.QueryRow(ctx, guardSQL, g.slot, int64(g.pid)).
			Scan(&text, &seen.recovery, &seen.activePID, &seen.present, &seen.syncState)
		if err != nil {
			return fmt.Errorf("take snapshot with guards: %w", err)
		}
		if err := seen.check(g.slot, g.pid); err != nil {
			return err
		}
		g.guarded = taken
	}
	s, err := parseSnapshot(text)
	if err != nil {
		return err
	}
	g.known, g.taken = s, taken
	return nil
}

// guards is what must hold for a snapshot to mean anything.
type guards struct {
	recovery  bool
	activePID *int64  // of the slot
	present   bool    // the walsender is among pg_stat_get_wal_senders()
	syncState *string // NULL without the right to see it
}

func (s guards) check(slot string, pid uint32) error {
	switch {
	case s.recovery:
		return errRecovery()
	case s.activePID == nil || *s.activePID != int64(pid) || !s.present:
		return withRemedy("let the connection string name one primary, without a pooler in between",
			"slot %q is not served by our walsender %d on the server that answers queries", slot, pid)
	case s.syncState == nil:
		return hopeless("GRANT pg_read_all_stats TO CURRENT_USER; (or pg_monitor), as a superuser, for Freshet's role",
			"sync_state of our own walsender cannot be seen")
	case *s.syncState != "async":
		return errSynchronous(*s.syncState)
	}
	return nil
}

func errRecovery() error {
	return withRemedy("let the connection string name the primary (target_session_attrs=read-write)",
		"the server is in recovery: a standby's snapshots say nothing about the primary's")
}

func errSynchronous(state string) error {
	return hopeless(
		"name the standbys in synchronous_standby_names instead of '*', without Freshet's application_name",
		"our walsender is a synchronous standby (sync_state %q): commits would wait for Freshet and Freshet for them", state)
}

// snapshot is what pg_current_snapshot() says. The zero value shows nothing.
type snapshot struct {
	xmin, xmax uint64
	running    []uint64 // between xmin and xmax, ascending
}

// shows reports whether a transaction that is known to have committed is visible. The 32 bits of xid are
// widened by nearness: no two transactions that can meet are 2^31 apart.
func (s *snapshot) shows(xid uint32) bool {
	if s.xmax == 0 {
		return false
	}
	full := s.xmax + uint64(int64(int32(xid-uint32(s.xmax))))
	switch {
	case full < s.xmin:
		return true
	case full >= s.xmax:
		return false
	}
	for _, x := range s.running {
		if x == full {
			return false
		}
	}
	return true
}

// parseSnapshot reads xmin:xmax:xip,….
func parseSnapshot(text string) (snapshot, error) {
	var s snapshot
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return s, fmt.Errorf("snapshot %q: want xmin:xmax:xip_list", text)
	}
	var err error
	if s.xmin, err = strconv.ParseUint(parts[0], 10, 64); err != nil {
		return s, fmt.Errorf("snapshot %q: xmin: %w", text, err)
	}
	if s.xmax, err = strconv.ParseUint(parts[1], 10, 64); err != nil {
		return s, fmt.Errorf("snapshot %q: xmax: %w", text, err)
	}
	if parts[2] == "" {
		return s, nil
	}
	for field := range strings.SplitSeq(parts[2], ",") {
		x, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return s, fmt.Errorf("snapshot %q: xip: %w", text, err)
		}
		s.running = append(s.running, x)
	}
	return s, nil
}
