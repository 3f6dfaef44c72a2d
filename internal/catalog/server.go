package catalog

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/internal/cdc"
)

//go:embed sql/server.sql
var serverSQL string

// Server is what matters of the server, its settings and its present state.
type Server struct {
	Version       int    // as server_version_num, such as 150004
	VersionText   string // such as "15.4"
	System        uint64 // the system identifier
	Timeline      uint32
	InRecovery    bool // a standby
	WALLevel      string
	Encoding      string // of the database
	Database      string
	MaxSenders    int
	Senders       int // walsenders running
	MaxSlots      int
	Slots         int    // slots that exist
	SyncStandbys  string // synchronous_standby_names
	KeepBytes     int64  // max_slot_wal_keep_size in bytes; -1: unlimited
	SenderTimeout time.Duration
	// CrashMarker changes when the server recovers from a crash and stays over
	// a clean restart: the reset time of its WAL statistics.
	CrashMarker time.Time
	// SSL is whether this connection is encrypted.
	SSL bool
}

type serverRow struct {
	Version             int
	VersionText         string
	System              string
	Timeline            int64
	InRecovery          bool
	WALLevel            string
	Encoding, Database  string
	MaxSenders, Senders int
	MaxSlots, Slots     int
	SyncStandbys        string
	KeepMB              int64
	SenderTimeoutMillis int64
	CrashMarker         *time.Time
	SSL                 bool
}

// ReadServer reads the server's settings and state. A role without further
// rights may ask all of it.
func ReadServer(ctx context.Context, db DB) (*Server, error) {
	rows, err := db.Query(ctx, serverSQL)
	if err != nil {
		return nil, fmt.Errorf("read server settings: %w", err)
	}
	row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[serverRow])
	if err != nil {
		return nil, fmt.Errorf("read server settings: %w", err)
	}
	s := &Server{
		Version: row.Version, VersionText: row.VersionText, Timeline: uint32(row.Timeline), InRecovery: row.InRecovery,
		WALLevel: row.WALLevel, Encoding: row.Encoding, Database: row.Database,
		MaxSenders: row.MaxSenders, Senders: row.Senders, MaxSlots: row.MaxSlots, Slots: row.Slots,
		SyncStandbys: row.SyncStandbys, KeepBytes: row.KeepMB << 20,
		SenderTimeout: time.Duration(row.SenderTimeoutMillis) * time.Millisecond, SSL: row.SSL,
	}
	if row.KeepMB < 0 {
		s.KeepBytes = -1
	}
	if row.CrashMarker != nil {
		s.CrashMarker = row.CrashMarker.UTC()
	}
	if _, err := fmt.Sscan(row.System, &s.System); err != nil {
		return nil, fmt.Errorf("read server settings: system identifier %q: %w", row.System, err)
	}
	return s, nil
}

// ServerVersion returns server_version_num.
func ServerVersion(ctx context.Context, db DB) (int, error) {
	var v int
	err := db.QueryRow(ctx, "SELECT current_setting('server_version_num')::int").Scan(&v)
	if err != nil {
		return 0, fmt.Errorf("read server version: %w", err)
	}
	return v, nil
}

// Positions returns how far the server's WAL has been inserted and flushed. On
// a standby both are what it has replayed.
func Positions(ctx context.Context, db DB) (insert, flush cdc.LSN, err error) {
	var i, f string
	err = db.QueryRow(ctx, `
SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END::text,
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END::text`).Scan(&i, &f)
	if err != nil {
		return 0, 0, fmt.Errorf("read wal positions: %w", err)
	}
	if insert, err = cdc.ParseLSN(i); err != nil {
		return 0, 0, fmt.Errorf("read wal positions: %w", err)
	}
	if flush, err = cdc.ParseLSN(f); err != nil {
		return 0, 0, fmt.Errorf("read wal positions: %w", err)
	}
	return insert, flush, nil
}
