package servers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Standby starts a streaming standby of the running server, with a server
// folder and a port of its own. It follows the server's write-ahead log until
// Promote, and is closed on its own.
func (p *Postgres) Standby(ctx context.Context) (*Postgres, error) {
	p.mu.Lock()
	opts := PostgresOptions{Bin: p.bin, Settings: maps.Clone(p.settings), HBA: p.hba}
	p.mu.Unlock()
	s, err := newPostgres(opts)
	if err != nil {
		return nil, err
	}
	s.proc.name = "postgres standby"
	err = p.backupTo(ctx, s)
	if err == nil {
		err = s.startOnFreePort(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start standby: %w", err), s.Close())
	}
	return s, nil
}

// notCopied are the folders whose content a base backup leaves out.
var notCopied = []string{
	"pg_wal", "pg_replslot", "pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans",
}

// backupTo makes a base backup of the running server in the folder of s. It
// does what pg_basebackup does, which not every packaging of the server brings.
func (p *Postgres) backupTo(ctx context.Context, s *Postgres) error {
	conn, err := pgx.Connect(ctx, p.DatabaseURL("postgres"))
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	// The session must stay open until the backup has ended.
	if _, err := conn.Exec(ctx, "SELECT pg_backup_start('standby', fast => true)"); err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	err = copyTree(p.DataDir(), s.DataDir(), s.account, func(name string) bool {
		switch name {
		case "postmaster.pid", "postmaster.opts", configFile:
			return true
		}
		// Files in them are left out. The folders, and those in pg_wal, must be.
		folder, _, inside := strings.Cut(name, string(filepath.Separator))
		return inside && slices.Contains(notCopied, folder) && name != filepath.Join("pg_wal", "archive_status")
	})
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	var label string
	if err := conn.QueryRow(ctx, "SELECT labelfile FROM pg_backup_stop(wait_for_archive => false)").Scan(&label); err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	s.mu.Lock()
	s.settings["primary_conninfo"] = "host=127.0.0.1 port=" + strconv.Itoa(p.Port()) + " user=postgres application_name=standby"
	// A standby that finds nothing new asks again after this; the default is 5 s.
	s.settings["wal_retrieve_retry_interval"] = "50ms"
	s.mu.Unlock()
	return errors.Join(
		s.writeFile("backup_label", []byte(label)),
		s.writeFile("standby.signal", nil),
	)
}

// Promote makes a standby a primary on a new timeline, and returns once it
// accepts writes. The old primary is left alone: kill it first for a failover,
// do not for a split brain.
func (p *Postgres) Promote(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, p.DatabaseURL("postgres"))
	if err != nil {
		return fmt.Errorf("promote standby: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var promoted bool
	if err := conn.QueryRow(ctx, "SELECT pg_promote(true, 60)").Scan(&promoted); err != nil {
		return fmt.Errorf("promote standby: %w", err)
	}
	if !promoted {
		return errors.New("promote standby: not within 60s")
	}
	return nil
}
