package invalidator

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// errStandby is why a lookup fails on a standby, which may be behind the change that it is asked about.
var errStandby = errors.New("the server is a standby, whose rows may be behind the change; name the primary in postgres.url")

// OpenDatabase returns connections for lookups. They write values as change messages have them, refuse a query from which row security
// would hide rows, as keys would be missing without a word, and refuse a standby. It does not connect.
func OpenDatabase(ctx context.Context, url string) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("postgres.url: %w", err) // pgx leaves the password out
	}
	for name, value := range cdc.TextForm() {
		config.ConnConfig.RuntimeParams[name] = value
	}
	config.ConnConfig.RuntimeParams["row_security"] = "off"
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		var standby bool
		err := conn.QueryRow(ctx, "select pg_is_in_recovery()").Scan(&standby)
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
