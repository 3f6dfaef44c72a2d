package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// Slot is a replication slot as the server describes it.
type Slot struct {
	Name      string
	Plugin    string // empty for a physical slot
	Database  string
	Temporary bool
	Active    bool
	ActivePID int
	Confirmed cdc.LSN // confirmed_flush_lsn
	Restart   cdc.LSN // restart_lsn; zero once the slot is lost
	// WALStatus is reserved, extended, unreserved or lost.
	WALStatus string
	// SafeBytes is how much WAL can still be written before the slot is in
	// danger; -1 when there is no limit.
	SafeBytes int64
	// Invalidation is why the slot was invalidated; empty before Postgres 17
	// and for a sound slot.
	Invalidation string
	TwoPhase     bool
	Failover     bool // Postgres 17 and later
	// Retained is how many bytes of WAL the server keeps for the slot.
	Retained int64
}

// Lost reports whether the slot can never be read again.
func (s *Slot) Lost() bool { return s.WALStatus == "lost" || s.Invalidation != "" }

// slotRow is pg_replication_slots as JSON, since its columns differ between
// versions.
type slotRow struct {
	Plugin       *string `json:"plugin"`
	Database     *string `json:"database"`
	Temporary    bool    `json:"temporary"`
	Active       bool    `json:"active"`
	ActivePID    *int    `json:"active_pid"`
	Confirmed    cdc.LSN `json:"confirmed_flush_lsn"`
	Restart      cdc.LSN `json:"restart_lsn"`
	WALStatus    *string `json:"wal_status"`
	SafeBytes    *int64  `json:"safe_wal_size"`
	Invalidation *string `json:"invalidation_reason"`
	TwoPhase     bool    `json:"two_phase"`
	Failover     bool    `json:"failover"`
}

// ReadSlot reads a slot; nil without an error when there is none of that name.
func ReadSlot(ctx context.Context, db DB, name string) (*Slot, error) {
	var text []byte
	var retained *int64
	err := db.QueryRow(ctx, `
SELECT to_jsonb(s)::text,
       (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END - s.restart_lsn)::int8
FROM pg_catalog.pg_replication_slots s
WHERE s.slot_name = $1`, name).Scan(&text, &retained)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // absence is an ordinary answer here
	}
	if err != nil {
		return nil, fmt.Errorf("read slot %q: %w", name, err)
	}
	var row slotRow
	if err := json.Unmarshal(text, &row); err != nil {
		return nil, fmt.Errorf("read slot %q: %w", name, err)
	}
	s := &Slot{
		Name: name, Temporary: row.Temporary, Active: row.Active, Confirmed: row.Confirmed, Restart: row.Restart,
		SafeBytes: -1, TwoPhase: row.TwoPhase, Failover: row.Failover,
		Plugin: deref(row.Plugin), Database: deref(row.Database), WALStatus: deref(row.WALStatus),
		Invalidation: deref(row.Invalidation), ActivePID: deref(row.ActivePID), Retained: max(0, deref(retained)),
	}
	if row.SafeBytes != nil {
		s.SafeBytes = *row.SafeBytes
	}
	return s, nil
}

func deref[T any](p *T) T {
	var zero T
	if p == nil {
		return zero
	}
	return *p
}

// CreateSlotSQL is the statement that creates the slot.
func CreateSlotSQL(name string) string {
	return fmt.Sprintf("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", quoteLiteral(name))
}

// DropSlotSQL is the statement that drops the slot.
func DropSlotSQL(name string) string {
	return fmt.Sprintf("SELECT pg_drop_replication_slot(%s)", quoteLiteral(name))
}

// DropSlot drops the slot. One that is gone is no error.
func DropSlot(ctx context.Context, db DB, name string) error {
	_, err := db.Exec(ctx, "SELECT pg_drop_replication_slot($1)", name)
	if err != nil && sqlState(err) != stateUndefinedObject {
		return &RemedyError{Problem: fmt.Sprintf("drop slot %q", name), Err: err, SQL: []string{DropSlotSQL(name)}}
	}
	return nil
}

// CreateSlot creates the slot and returns the position that it starts from.
// The server waits for transactions in progress to end first, so ctx should
// allow for that. Create the publication before.
func CreateSlot(ctx context.Context, db DB, name string) (cdc.LSN, error) {
	var text string
	err := db.QueryRow(ctx, "SELECT lsn::text FROM pg_create_logical_replication_slot($1, 'pgoutput')", name).Scan(&text)
	if sqlState(err) == stateInsufficientPrivilege {
		return 0, &RemedyError{
			Problem: fmt.Sprintf("create slot %q", name), Err: err,
			SQL:  []string{CreateSlotSQL(name)},
			Note: "the role needs REPLICATION",
		}
	}
	if err != nil {
		return 0, fmt.Errorf("create slot %q: %w", name, err)
	}
	lsn, err := cdc.ParseLSN(text)
	if err != nil {
		return 0, fmt.Errorf("create slot %q: %w", name, err)
	}
	return lsn, nil
}
