package warmer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// clientSlack is how much longer than Config.Timeout an answer is waited for, so that
// it is Postgres who ends a query that takes too long.
const clientSlack = time.Second

var (
	errStandby = errors.New("the server is a standby, whose rows may be behind what was invalidated; name the primary in postgres.url")
	errAway    = errors.New("postgres does not answer")
)

// queryError is a query that will do no better when it is sent again at once. Its text
// holds no values of any row.
type queryError struct{ reason string }

func (e *queryError) Error() string { return e.reason }

// Database runs warm queries. What OpenDatabase returns is one.
type Database interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	Ping(ctx context.Context) error
}

var _ Database = (*pgxpool.Pool)(nil)

// OpenDatabase returns connections for warm queries: they read only, end what takes
// too long, and refuse a standby, and a query from which row security would hide rows:
// what readers with other rights load has them. It does not connect.
func OpenDatabase(ctx context.Context, url string, cfg Config) (*pgxpool.Pool, error) {
	cfg = cfg.withDefaults()
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("postgres.url: %w", err) // pgx leaves the password out
	}
	config.MaxConns = int32(min(cfg.Concurrency, 1000))
	config.ConnConfig.ConnectTimeout = cfg.Timeout
	limit := strconv.FormatInt(max(cfg.Timeout.Milliseconds(), 1), 10)
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		var standby bool
		err := conn.QueryRow(ctx, `select pg_is_in_recovery()
			from set_config('statement_timeout', $1, false) a, set_config('default_transaction_read_only', 'on', false) b, set_config('row_security', 'off', false) c`, limit).Scan(&standby)
		if err == nil && standby {
			err = errStandby
		}
		return err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("postgres.url: %w", err)
	}
	return pool, nil
}

// load runs a warm query; found is false where it returns no row. The error is a
// *queryError, or errAway where Postgres was not reached.
func (w *Warmer) load(ctx context.Context, sql string, params []*string) (value document, found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.Timeout+clientSlack)
	defer cancel()
	args := make([]any, 0, len(params)+1)
	args = append(args, pgx.QueryResultFormats{pgx.TextFormatCode})
	for _, p := range params {
		if p == nil {
			args = append(args, nil)
			continue
		}
		args = append(args, *p)
	}
	w.stats.sent()
	rows, err := w.db.Query(ctx, sql, args...)
	if err != nil {
		return nil, false, sorted(err)
	}
	defer rows.Close()
	for rows.Next() {
		switch raw := rows.RawValues(); {
		case len(raw) != 1:
			return nil, false, &queryError{fmt.Sprintf("it returns %d columns, not one; put them together with to_jsonb or jsonb_build_object", len(raw))}
		case found:
			return nil, false, &queryError{"it returns more than one row; aggregate them, for example with jsonb_agg"}
		case raw[0] == nil:
			return nil, false, &queryError{"it returns NULL; let it return no row, or a JSON value by coalesce"}
		case !json.Valid(raw[0]):
			return nil, false, &queryError{"what it returns is not JSON; wrap it in to_jsonb"}
		default:
			value, found = append(document(nil), raw[0]...), true
		}
	}
	if err := rows.Err(); err != nil {
		return nil, false, sorted(err)
	}
	return value, found, nil
}

// sorted tells a query that Postgres refused from a Postgres that is away.
func sorted(err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return fmt.Errorf("%w: %w", errAway, err)
	}
	const canceled, tooMany = "57014", "53300"
	class := pg.Code[:min(2, len(pg.Code))]
	switch {
	case pg.Code == canceled:
		return &queryError{"it took longer than warmer.timeout (SQLSTATE 57014)"}
	case class == "57", class == "08", pg.Code == tooMany:
		return fmt.Errorf("%w: %s (SQLSTATE %s)", errAway, pg.Message, pg.Code)
	case class == "42": // of the statement: names, no values
		return &queryError{fmt.Sprintf("%s (SQLSTATE %s)", pg.Message, pg.Code)}
	default: // the message may hold values
		return &queryError{fmt.Sprintf("Postgres refuses it with SQLSTATE %s", pg.Code)}
	}
}
