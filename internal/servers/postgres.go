package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"
)

// PostgresOptions says how to start a Postgres server. The zero value is a
// server with logical replication.
type PostgresOptions struct {
	// Bin is the folder of the programs initdb and postgres. Defaults to what
	// FindPostgres finds.
	Bin string
	// Dir is the folder in which the temporary folder is made. Defaults to the
	// system's. When we are root, the account postgres must be able to enter it.
	Dir string
	// Settings are added to postgresql.conf and win over this package's own;
	// values are written unquoted here, for example {"wal_sender_timeout": "5s"}.
	Settings map[string]string
	// HBA lines stand before those that trust every connection from loopback.
	HBA []string
	// Files are written to the data folder under these names, readable by the
	// server alone, for example a certificate and its key.
	Files map[string][]byte
	// Template is copied instead of running initdb, which saves a second.
	// Its programs are used, so Bin is ignored. Defaults to none.
	Template *PostgresTemplate
}

// Postgres is one running, or stopped, Postgres server: superuser postgres
// without a password, database app.
type Postgres struct {
	bin     string
	proc    *process
	port    *portHold
	account *syscall.Credential

	mu       sync.Mutex // guards settings and hba
	settings map[string]string
	hba      []string
}

// StartPostgres makes a database cluster in a temporary folder and starts it.
// ctx bounds the start only; Close ends the server.
func StartPostgres(ctx context.Context, opts PostgresOptions) (*Postgres, error) {
	if opts.Template != nil {
		opts.Bin = opts.Template.bin
	}
	p, err := newPostgres(opts)
	if err != nil {
		return nil, err
	}
	if opts.Template != nil {
		err = opts.Template.copyTo(p.proc.guard.folder, p.account)
	} else {
		err = initCluster(ctx, p.bin, p.proc.guard.folder, p.account)
	}
	for name, content := range opts.Files {
		err = errors.Join(err, p.writeFile(name, content))
	}
	if err == nil {
		err = p.startOnFreePort(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start postgres: %w", err), p.Close())
	}
	return p, nil
}

func newPostgres(opts PostgresOptions) (*Postgres, error) {
	bin, err := FindPostgres(opts.Bin)
	if err != nil {
		return nil, err
	}
	account, err := serverAccount()
	if err != nil {
		return nil, err
	}
	g, err := newGuard(opts.Dir, "postgres")
	if err != nil {
		return nil, err
	}
	p := &Postgres{
		bin:      bin,
		proc:     &process{name: "postgres", guard: g, user: account},
		account:  account,
		settings: defaultSettings(),
		hba:      slices.Clone(opts.HBA),
	}
	maps.Copy(p.settings, opts.Settings)
	if err := chown(g.folder, account); err != nil {
		return nil, errors.Join(err, g.close())
	}
	return p, nil
}

// defaultSettings suit many small servers on one machine.
func defaultSettings() map[string]string {
	return map[string]string{
		"wal_level":                 "logical",
		"max_wal_senders":           "20",
		"max_replication_slots":     "20",
		"max_prepared_transactions": "10",
		"max_connections":           "100",
		// A standby made from a copy still finds its start here.
		"wal_keep_size":  "256MB",
		"shared_buffers": "16MB",
		"timezone":       "UTC",
		"log_timezone":   "UTC",
		// A SIGKILL loses nothing that the kernel was handed. It can, though,
		// end a write between two of a page's halves, so full_page_writes stays on.
		"fsync": "off",
		// Nothing outside the temporary folder: no socket file, and no segment in
		// /dev/shm, which a killed server would leave there.
		"unix_socket_directories":    "",
		"dynamic_shared_memory_type": "mmap",
		"logging_collector":          "off",
		"log_line_prefix":            "%m [%p] %q%a ",
	}
}

func (p *Postgres) startOnFreePort(ctx context.Context) error {
	return withPort(ctx, false, func(hold *portHold) error {
		p.port = hold
		err := p.Start(ctx)
		if err != nil && portTaken(p.Log()) {
			return errors.Join(errPortTaken, err)
		}
		return err
	})
}

// URL is the connection string of the superuser for the database app.
func (p *Postgres) URL() string { return p.DatabaseURL("app") }

// DatabaseURL is the connection string of the superuser for a database.
func (p *Postgres) DatabaseURL(database string) string {
	return p.UserURL("postgres", "", database)
}

// UserURL is the connection string of a role; an empty password is left out.
func (p *Postgres) UserURL(role, password, database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.User(role),
		Host:     p.port.addr(),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	if password != "" {
		u.User = url.UserPassword(role, password)
	}
	return u.String()
}

// Addr is the server's address as host:port.
func (p *Postgres) Addr() string { return p.port.addr() }

// Port is the server's TCP port on 127.0.0.1. It stays the same until Close.
func (p *Postgres) Port() int { return p.port.number }

// DataDir is the data folder of the cluster.
func (p *Postgres) DataDir() string { return filepath.Join(p.proc.guard.folder, "data") }

// Bin is the folder of the server's programs.
func (p *Postgres) Bin() string { return p.bin }

// PID is the id of the postmaster, or 0 while it does not run.
func (p *Postgres) PID() int { return p.proc.pid() }

// Log returns the end of the server's log.
func (p *Postgres) Log() string { return p.proc.tail() }

// Start starts the server again on the same port after Stop or Kill, and
// returns once it accepts connections.
func (p *Postgres) Start(ctx context.Context) error {
	if err := p.writeConfig(); err != nil {
		return fmt.Errorf("configure postgres: %w", err)
	}
	if p.proc.running() {
		return fmt.Errorf("start postgres: %w", ErrRunning)
	}
	// Everything of the last run is known to be gone, but its ids may belong to
	// strangers by now, whom the server would take for itself.
	pidFile := filepath.Join(p.DataDir(), "postmaster.pid")
	p.removeSharedMemory()
	if err := os.Remove(pidFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("start postgres: %w", err)
	}
	if err := p.proc.start(filepath.Join(p.bin, "postgres"), "-D", p.DataDir()); err != nil {
		return err
	}
	return p.proc.await(ctx, func(context.Context) error {
		// Line 8 is the state that pg_ctl waits for.
		text, err := os.ReadFile(pidFile)
		if err != nil {
			return err
		}
		lines := strings.Split(string(text), "\n")
		if len(lines) < 8 || strings.TrimSpace(lines[7]) != "ready" {
			return errors.New("not ready yet")
		}
		return nil
	})
}

// Stop shuts the server down in good order: sessions are ended, replication
// connections get everything first, a checkpoint is written.
func (p *Postgres) Stop() error { return p.proc.stop(syscall.SIGINT) }

// Kill ends the server as a crash would: the postmaster and all its children
// at the same moment, nothing written. It returns once all of them are gone.
func (p *Postgres) Kill() error {
	family, err := p.proc.freeze()
	if err != nil {
		if errors.Is(err, ErrNotRunning) {
			return nil
		}
		return err
	}
	err = p.proc.kill()
	for _, pid := range family {
		if killErr := syscall.Kill(pid, syscall.SIGKILL); killErr != nil && !errors.Is(killErr, syscall.ESRCH) {
			err = errors.Join(err, fmt.Errorf("kill postgres: child %d: %w", pid, killErr))
		}
	}
	return errors.Join(err, awaitGone(family))
}

func awaitGone(pids []int) error {
	if !within(stopTimeout, func() bool { return !slices.ContainsFunc(pids, alive) }) {
		return fmt.Errorf("kill postgres: children of %v still there after %v", pids, stopTimeout)
	}
	return nil
}

// Pause halts the server with all its children (SIGSTOP): connections stay
// open and nobody answers. It returns once all have halted. Resume lets them go
// on.
func (p *Postgres) Pause() error { return p.proc.pause() }

// Resume ends a Pause.
func (p *Postgres) Resume() error { return p.proc.resume() }

// Signal sends a signal to the postmaster.
func (p *Postgres) Signal(sig syscall.Signal) error { return p.proc.signal(sig, false) }

// Close ends the server and removes everything of it. It may be called again.
func (p *Postgres) Close() error {
	// An immediate shutdown is as fast as a kill and lets the server remove its
	// own shared memory.
	var err error
	if sigErr := p.proc.signal(syscall.SIGCONT, false); sigErr == nil {
		err = p.proc.signal(syscall.SIGQUIT, false)
		timer := time.NewTimer(time.Second)
		select {
		case <-p.proc.gone():
		case <-timer.C:
			err = errors.Join(err, p.Kill())
		}
		timer.Stop()
	}
	if errors.Is(err, ErrNotRunning) {
		err = nil
	}
	p.removeSharedMemory()
	err = errors.Join(err, p.proc.close())
	if p.port != nil {
		p.port.release()
	}
	return err
}

// removeSharedMemory removes the segment that a killed server has left: the
// last word of postmaster.pid's seventh line. It has none after a good stop.
func (p *Postgres) removeSharedMemory() {
	if p.proc.running() {
		return
	}
	text, err := os.ReadFile(filepath.Join(p.DataDir(), "postmaster.pid"))
	if err != nil {
		return
	}
	lines := bytes.Split(text, []byte("\n"))
	if len(lines) < 7 {
		return
	}
	fields := bytes.Fields(lines[6])
	if len(fields) != 2 {
		return
	}
	if id, err := strconv.Atoi(string(fields[1])); err == nil {
		// Fails if it has gone already, which is the aim.
		_, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil)
	}
}

// Connect opens a connection of the superuser to the database app.
func (p *Postgres) Connect(ctx context.Context) (*pgx.Conn, error) {
	return pgx.Connect(ctx, p.URL())
}
