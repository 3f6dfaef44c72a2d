package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Open returns a pool for checks: its connections only read, in UTC, no
// statement runs longer than timeout, and a query from which row security would
// hide rows fails. It connects when it is first used.
func Open(ctx context.Context, url string, timeout time.Duration) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("postgres.url: %w", err) // pgx leaves the password out
	}
	parameters := cfg.ConnConfig.RuntimeParams
	parameters["application_name"] = "freshet verify"
	parameters["default_transaction_read_only"] = "on"
	parameters["statement_timeout"] = strconv.FormatInt(timeout.Milliseconds(), 10)
	parameters["timezone"] = "UTC"
	parameters["row_security"] = "off"
	return pgxpool.NewWithConfig(ctx, cfg)
}

// ask runs the warm query of a key. Its parameters are bound.
func (v *Verifier) ask(ctx context.Context, t task) ([]byte, error) {
	args := make([]any, 0, len(t.args)+1)
	args = append(args, pgx.QueryResultFormats{pgx.TextFormatCode})
	for _, arg := range t.args {
		args = append(args, arg)
	}
	rows, err := v.db.Query(ctx, t.rule.SQL, args...)
	if err != nil {
		return nil, told(err)
	}
	defer rows.Close()
	var value []byte
	n := 0
	for rows.Next() {
		if n++; n > 1 {
			return nil, errors.New("the query gives several rows; one is the value of one key")
		}
		if columns := len(rows.FieldDescriptions()); columns != 1 {
			return nil, fmt.Errorf("the query gives %d columns; select one, for example with to_jsonb", columns)
		}
		value = bytes.Clone(rows.RawValues()[0])
	}
	return value, told(rows.Err())
}

// told returns an error without the values of a row that Postgres may have put
// into its message.
func told(err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || strings.HasPrefix(pg.Code, "42") {
		return err // a mistake in the query itself names no values
	}
	return fmt.Errorf("the query failed with SQLSTATE %s", pg.Code)
}
