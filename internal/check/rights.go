package check

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet-dev/freshet/internal/catalog"
)

// rights checks what our role may do on the server as a whole.
func (c *postgresCheck) rights(ctx context.Context) {
	role := catalog.QuoteIdent(c.role.Name)
	if c.role.Superuser {
		c.server.warn("role", c.role.Name+" is a superuser, which Freshet does not need to be",
			"make a role with LOGIN, REPLICATION, pg_read_all_stats and SELECT on the tables of the rules: deploy/sql/role.sql")
	} else {
		c.server.ok("role", "%s is no superuser", c.role.Name)
	}
	c.replication(ctx, role)
	if c.role.ReadAllStats {
		c.server.ok("pg_read_all_stats", "granted")
	} else {
		c.server.fail("pg_read_all_stats", "not granted: without it nobody can tell that Freshet is not a synchronous standby", "",
			"GRANT pg_read_all_stats TO "+role)
	}
}

// replication opens a replication connection, as managed services grant the
// right in ways of their own.
func (c *postgresCheck) replication(ctx context.Context, role string) {
	cfg, err := pgconn.ParseConfig(c.cfg.PostgresURL)
	if err != nil {
		c.server.fail("replication", oneLine(err), "")
		return
	}
	cfg.RuntimeParams["replication"] = "database"
	cfg.RuntimeParams["application_name"] = "freshet check"
	cfg.ConnectTimeout = connectTimeout
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err == nil {
		_, err = conn.Exec(ctx, "IDENTIFY_SYSTEM").ReadAll()
		_ = conn.Close(context.WithoutCancel(ctx)) // asked all there was to ask
	}
	var refused *pgconn.PgError
	switch {
	case err == nil:
		c.replicates = true
		c.server.ok("replication", "the role may open replication connections")
		c.senders()
	case errors.As(err, &refused) && refused.Code == "53300":
		c.fewSenders()
	case errors.As(err, &refused) && refused.Code == "42501":
		c.server.fail("replication", "the role may not open replication connections", "on a managed service use its own grant instead",
			"ALTER ROLE "+role+" REPLICATION")
	default:
		c.server.fail("replication", "a replication connection is refused: "+oneLine(err), "let the role in by pg_hba.conf, and do not go through a pooler")
	}
}

// senders counts walsenders; our probe is gone by now.
func (c *postgresCheck) senders() {
	if free := c.info.MaxSenders - c.info.Senders; free < 1 {
		c.fewSenders()
	} else {
		c.server.ok("max_wal_senders", "%d of %d free", free, c.info.MaxSenders)
	}
}

func (c *postgresCheck) fewSenders() {
	c.server.fail("max_wal_senders", fmt.Sprintf("all of %d are in use", c.info.MaxSenders), "restart the server afterwards",
		fmt.Sprintf("ALTER SYSTEM SET max_wal_senders = %d", c.info.MaxSenders+5))
}

// synchronous makes sure that no commit waits for Freshet, which itself waits
// until the commit is visible.
func (c *postgresCheck) synchronous(ctx context.Context) {
	// The name with which the consumer connects.
	application := "freshet/" + c.cfg.Name
	application = application[:min(len(application), 63)]
	if name, named := namesStandby(c.info.SyncStandbys, application); named {
		line := Line{
			Check: "synchronous_standby_names", Status: Fail,
			Text: fmt.Sprintf("'%s' in it makes Freshet a synchronous standby: every commit would wait for Freshet, and Freshet for the commit", name),
		}
		line.Remedy, line.SQL = c.nameStandbys(ctx)
		c.server.add(line)
		return
	}
	var state *string
	err := c.db.QueryRow(ctx, `
SELECT r.sync_state FROM pg_catalog.pg_replication_slots s JOIN pg_catalog.pg_stat_replication r ON r.pid = s.active_pid
WHERE s.slot_name = $1`, c.cfg.Slot).Scan(&state)
	switch {
	case err == nil && state != nil && *state != "async":
		c.server.fail("synchronous_standby_names", "the walsender of our slot is "+*state+": commits wait for it", "take its application_name out of synchronous_standby_names")
	case c.info.SyncStandbys == "":
		c.server.ok("synchronous_standby_names", "empty")
	default:
		c.server.ok("synchronous_standby_names", "%s does not name Freshet (%s)", c.info.SyncStandbys, application)
	}
}

// nameStandbys proposes a setting that names the standbys that are there.
func (c *postgresCheck) nameStandbys(ctx context.Context) (remedy string, sql []string) {
	remedy = "name the standbys one by one instead, or empty it if there are none"
	rows, err := c.db.Query(ctx, `
SELECT DISTINCT quote_ident(application_name) FROM pg_catalog.pg_stat_replication r
WHERE application_name <> '' AND NOT EXISTS (SELECT FROM pg_catalog.pg_replication_slots s WHERE s.active_pid = r.pid AND s.slot_type = 'logical')
  AND application_name NOT LIKE 'freshet%' ORDER BY 1`)
	if err != nil {
		return remedy, nil
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if rows.Scan(&name) == nil {
			names = append(names, name)
		}
	}
	value := ""
	if len(names) > 0 {
		value = "FIRST 1 (" + strings.Join(names, ", ") + ")"
	}
	return remedy, []string{
		"ALTER SYSTEM SET synchronous_standby_names = '" + strings.ReplaceAll(value, "'", "''") + "'", reloadSQL,
	}
}

// namesStandby reports whether synchronous_standby_names covers application.
func namesStandby(setting, application string) (string, bool) {
	names := strings.FieldsFunc(setting, func(r rune) bool { return strings.ContainsRune(" ,()\t\n\r", r) })
	for _, name := range names {
		name = strings.ReplaceAll(strings.Trim(name, `"`), `""`, `"`)
		if name == "*" || strings.EqualFold(name, application) {
			return name, true
		}
	}
	return "", false
}
