package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/rule"
)

const (
	oldestPostgres = 150000
	connectTimeout = 5 * time.Second
	// tolerableSkew is how far clocks may differ before bounds on staleness
	// become loose.
	tolerableSkew = 500 * time.Millisecond
)

// postgresCheck checks the server, and the rules against its schema.
type postgresCheck struct {
	cfg Config
	set *rule.Set // compiled without the schema

	server, rules, publishing section
	invalid                   bool
	unreadable                bool // some table of the rules may not be read
	replicates                bool // a replication connection was made

	db   *pgx.Conn
	info *catalog.Server
	role *catalog.Role
}

func (c *postgresCheck) run(ctx context.Context) {
	if !c.connect(ctx) {
		return
	}
	defer func() { _ = c.db.Close(context.WithoutCancel(ctx)) }() // nothing was changed that a failure to close could lose
	info, err := catalog.ReadServer(ctx, c.db)
	if err == nil {
		c.info = info
		c.role, err = catalog.ReadRole(ctx, c.db)
	}
	if err != nil {
		c.server.fail("settings", err.Error(), "")
		return
	}
	c.aboutServer(ctx)
	c.settings()
	c.rights(ctx)
	c.synchronous(ctx)
	c.aboutRules(ctx)
	slot := c.slot(ctx)
	c.failover(ctx, slot)
	c.heartbeat(ctx, slot)
}

func (c *postgresCheck) connect(ctx context.Context) bool {
	cfg, err := pgx.ParseConfig(c.cfg.PostgresURL)
	if err != nil {
		c.server.fail("connection", err.Error(), "mend postgres.url")
		c.invalid = true
		return false
	}
	cfg.RuntimeParams["application_name"] = "freshet check"
	cfg.RuntimeParams["synchronous_commit"] = "local" // nothing of ours waits for standbys
	cfg.ConnectTimeout = connectTimeout
	c.db, err = pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		c.server.fail("connection", oneLine(err), connectRemedy(err, cfg))
		return false
	}
	return true
}

// connectRemedy says what to do about a connection that was not made.
func connectRemedy(err error, cfg *pgx.ConnConfig) string {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		switch refused.Code {
		case "28P01", "28000":
			return fmt.Sprintf("mend user and password in postgres.url, or let the role %s in by pg_hba.conf", catalog.QuoteIdent(cfg.User))
		case "3D000":
			return "mend the database's name in postgres.url"
		case "53300":
			return "raise max_connections, or close connections"
		}
		return ""
	}
	return fmt.Sprintf("see that the server runs and that %s can be reached from here, or mend postgres.url", net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port))))
}

func (c *postgresCheck) aboutServer(ctx context.Context) {
	address := c.db.PgConn().Conn().RemoteAddr()
	c.server.ok("connection", "Postgres %s at %s, database %s, role %s", c.info.VersionText, address, c.info.Database, c.role.Name)
	if c.info.Version < oldestPostgres {
		c.server.fail("version", fmt.Sprintf("Postgres %s is older than 15", c.info.VersionText), "upgrade the server")
	}
	if c.info.InRecovery {
		c.server.fail("primary", "the server is a standby, whose snapshots say nothing about what is committed on the primary",
			"name the primary in postgres.url; with several hosts add target_session_attrs=read-write")
	} else {
		c.server.ok("primary", "not a standby, timeline %d of system %d", c.info.Timeline, c.info.System)
	}
	switch {
	case c.info.SSL:
		c.server.ok("tls", "the connection is encrypted")
	case local(address):
		c.server.ok("tls", "not encrypted, on this machine")
	default:
		c.server.warn("tls", "the connection is not encrypted", "add sslmode=verify-full to postgres.url")
	}
	switch c.info.Encoding {
	case "UTF8":
		c.server.ok("encoding", "UTF8")
	case "SQL_ASCII":
		c.server.warn("encoding", "SQL_ASCII: the server does not know how its text is encoded, so text that is no UTF-8 ends up garbled in keys",
			"have keys made of ASCII columns only, or move to a database with encoding UTF8")
	default:
		c.server.ok("encoding", "%s, which the server converts to UTF-8", c.info.Encoding)
	}
	c.clock(ctx)
}

func (c *postgresCheck) clock(ctx context.Context) {
	var there time.Time
	before := time.Now()
	if err := c.db.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&there); err != nil {
		c.server.fail("clock", err.Error(), "")
		return
	}
	aboutClock(&c.server, there, before, time.Now())
}

// aboutClock compares a server's clock with ours, which is known to the time
// that asking took.
func aboutClock(s *section, there, before, after time.Time) {
	doubt := after.Sub(before) / 2
	skew := there.Sub(before.Add(doubt))
	text := fmt.Sprintf("differs from this machine's by %s (±%s)", skew.Round(time.Millisecond), doubt.Round(time.Millisecond))
	if skew.Abs() > tolerableSkew+doubt {
		s.warn("clock", text+": bounds on staleness are off by as much", "run an NTP client on both machines")
		return
	}
	s.ok("clock", "%s", text)
}

func (c *postgresCheck) settings() {
	if c.info.WALLevel == "logical" {
		c.server.ok("wal_level", "logical")
	} else {
		c.server.fail("wal_level", "is "+c.info.WALLevel+": the WAL lacks what logical decoding needs", "restart the server afterwards",
			"ALTER SYSTEM SET wal_level = 'logical'")
	}
	switch keep := c.info.KeepBytes; {
	case keep < 0:
		c.server.warn("max_slot_wal_keep_size",
			"unlimited: should nobody look after the slot for long, the WAL kept for it fills the disk", "set a limit that the disk has room for",
			fmt.Sprintf("ALTER SYSTEM SET max_slot_wal_keep_size = '%dMB'", max(1, 3*c.cfg.MaxWAL>>20)), reloadSQL)
	case keep < c.cfg.MaxWAL:
		c.server.warn("max_slot_wal_keep_size", fmt.Sprintf("%s is less than postgres.max_wal (%s): the server gives the slot up first", size(keep), size(c.cfg.MaxWAL)),
			"lower postgres.max_wal, or raise the setting",
			fmt.Sprintf("ALTER SYSTEM SET max_slot_wal_keep_size = '%dMB'", max(1, 3*c.cfg.MaxWAL>>20)), reloadSQL)
	default:
		c.server.ok("max_slot_wal_keep_size", "%s", size(keep))
	}
	c.senderTimeout()
}

const (
	// shortTimeout is a wal_sender_timeout that a process that pauses for a
	// moment cannot keep; the consumer reports at a third of it.
	shortTimeout = 5 * time.Second
	// longTimeout is one after which nobody waits any more to take over.
	longTimeout = 5 * time.Minute
)

// senderTimeout looks at how long the server waits for a reader that says
// nothing: for as long the slot stays taken after one has vanished.
func (c *postgresCheck) senderTimeout() {
	const check = "wal_sender_timeout"
	sql := []string{"ALTER SYSTEM SET wal_sender_timeout = '60s'", reloadSQL}
	switch timeout := c.info.SenderTimeout; {
	case timeout == 0:
		c.server.warn(check, "off: a reader that vanished without a word keeps the slot until TCP gives up, and no other can take over", "", sql...)
	case timeout < shortTimeout:
		c.server.warn(check, fmt.Sprintf("%s: the server cuts the connection whenever the consumer pauses for as long", timeout), "", sql...)
	case timeout > longTimeout:
		c.server.warn(check, fmt.Sprintf("%s: a reader that vanished without a word keeps the slot for as long", timeout), "", sql...)
	default:
		c.server.ok(check, "%s", timeout)
	}
}

// local reports whether an address is on this machine.
func local(address net.Addr) bool {
	if address == nil || address.Network() == "unix" {
		return true
	}
	host, _, err := net.SplitHostPort(address.String())
	return err == nil && net.ParseIP(host).IsLoopback()
}

// Postgres' codes that are decided on here.
const (
	insufficientPrivilege = "42501"
	lockNotAvailable      = "55P03"
)

// sqlState returns the server's error code, or "".
func sqlState(err error) string {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return refused.Code
	}
	return ""
}

// oneLine makes one line of an error; pgx lists every address it tried.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
