package servers

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// configFile holds our settings. postgresql.conf, which includes it, stays as
// initdb or pg_basebackup made it.
const configFile = "freshet.conf"

// SetConfig changes one setting, by its unquoted value, and reloads the server
// if it runs; settings that need a restart take effect with the next Start.
func (p *Postgres) SetConfig(ctx context.Context, key, value string) error {
	p.mu.Lock()
	p.settings[key] = value
	p.mu.Unlock()
	return p.rewrite(ctx, key)
}

// ResetConfig puts one setting back to the server's default.
func (p *Postgres) ResetConfig(ctx context.Context, key string) error {
	p.mu.Lock()
	delete(p.settings, key)
	p.mu.Unlock()
	return p.rewrite(ctx, key)
}

// SetHBA replaces the lines that stand before those that trust every
// connection from loopback, and reloads the server if it runs.
func (p *Postgres) SetHBA(ctx context.Context, lines ...string) error {
	p.mu.Lock()
	p.hba = slices.Clone(lines)
	p.mu.Unlock()
	return p.rewrite(ctx, "pg_hba.conf")
}

func (p *Postgres) rewrite(ctx context.Context, what string) error {
	if err := p.writeConfig(); err != nil {
		return fmt.Errorf("set %s: %w", what, err)
	}
	if !p.proc.running() {
		return nil
	}
	return p.Reload(ctx)
}

// Reload makes the server read its configuration and returns once new sessions
// have it. Sessions that are open follow at their next command.
func (p *Postgres) Reload(ctx context.Context) error {
	before, err := p.loadTime(ctx)
	if err != nil {
		return fmt.Errorf("reload postgres: %w", err)
	}
	if err := p.proc.signal(syscall.SIGHUP, false); err != nil {
		return fmt.Errorf("reload postgres: %w", err)
	}
	return p.proc.await(ctx, func(ctx context.Context) error {
		now, err := p.loadTime(ctx)
		if err != nil {
			return err
		}
		if !now.After(before) {
			return fmt.Errorf("configuration still that of %v", now)
		}
		return nil
	})
}

// loadTime asks a new session, which inherits the postmaster's configuration.
func (p *Postgres) loadTime(ctx context.Context) (time.Time, error) {
	conn, err := pgx.Connect(ctx, p.DatabaseURL("postgres"))
	if err != nil {
		return time.Time{}, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var at time.Time
	err = conn.QueryRow(ctx, "SELECT pg_conf_load_time()").Scan(&at)
	return at, err
}

// writeConfig writes our settings and the access rules.
func (p *Postgres) writeConfig() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var conf strings.Builder
	for _, key := range slices.Sorted(maps.Keys(p.settings)) {
		fmt.Fprintf(&conf, "%s = '%s'\n", key, quoteSetting(p.settings[key]))
	}
	// Not for Settings to change: where we listen is what URL promises.
	fmt.Fprintf(&conf, "listen_addresses = '127.0.0.1'\nport = %d\n", p.port.number)
	if err := p.writeFile(configFile, []byte(conf.String())); err != nil {
		return err
	}

	hba := strings.Join(append(slices.Clone(p.hba),
		"host all all 127.0.0.1/32 trust",
		"host replication all 127.0.0.1/32 trust", ""), "\n")
	if err := p.writeFile("pg_hba.conf", []byte(hba)); err != nil {
		return err
	}

	main := filepath.Join(p.DataDir(), "postgresql.conf")
	text, err := os.ReadFile(main)
	if err != nil {
		return err
	}
	include := "\ninclude '" + configFile + "'\n"
	if strings.HasSuffix(string(text), include) {
		return nil
	}
	return p.writeFile("postgresql.conf", append(text, include...))
}

// quoteSetting writes a value as postgresql.conf wants it between quotes.
func quoteSetting(value string) string {
	return strings.NewReplacer(`'`, `''`, `\`, `\\`, "\n", `\n`).Replace(value)
}

// writeFile replaces a file of the data folder at once, so that a reload at
// the same moment reads all of it or none.
func (p *Postgres) writeFile(name string, content []byte) error {
	path := filepath.Join(p.DataDir(), name)
	temporary := path + ".new"
	if err := os.WriteFile(temporary, content, 0o600); err != nil {
		return err
	}
	if err := chown(temporary, p.account); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
