package service

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"

	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/check"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/stream"
)

// compile reads the schema, waiting for a Postgres that is away, and compiles
// the rules against it.
func compile(ctx context.Context, cfg Config, pool *pgxpool.Pool) (*rule.Set, error) {
	var tables map[cdc.TableName]*catalog.Table
	ask := func(question func(*pgxpool.Conn) error) error {
		return waitFor(ctx, cfg, "postgres", func(ctx context.Context) (temporary bool, err error) {
			err = pool.AcquireFunc(ctx, question)
			return away(err), err
		})
	}
	err := ask(func(c *pgxpool.Conn) (err error) {
		tables, err = catalog.AllTables(ctx, c)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	rules, err := cfg.Compile(check.Schema(tables))
	if err != nil || !slices.Contains(cfg.Roles, RoleInvalidator) {
		return rules, err
	}
	// A lookup that is refused each time would widen each row that needs it.
	err = ask(func(c *pgxpool.Conn) error { return check.Lookups(ctx, c.Conn(), tables, rules) })
	return rules, err
}

func openStream(ctx context.Context, cfg Config) (s *stream.Stream, err error) {
	err = waitFor(ctx, cfg, "nats", func(ctx context.Context) (bool, error) {
		s, err = stream.Open(ctx, cfg.Stream)
		return cfg.Stream.URL != "" && unreachable(err), err
	})
	return s, err
}

// waitFor tries until it succeeds, fails for good, or ctx ends.
func waitFor(ctx context.Context, cfg Config, server string, try func(context.Context) (temporary bool, err error)) error {
	const longest = 5 * time.Second
	pause := 200 * time.Millisecond
	for said := false; ; {
		temporary, err := try(ctx)
		if err == nil || !temporary {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err() // a stop is no failure of the server's
		}
		if !said {
			cfg.Logger.Warn("waiting for a server that is away", "server", server, "error", err)
			said = true
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause/2 + rand.N(pause)):
		}
		pause = min(2*pause, longest)
	}
}

// unreachable reports whether NATS did not answer, as opposed to having
// refused us.
func unreachable(err error) bool {
	var network net.Error
	return errors.Is(err, nats.ErrNoServers) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrConnectionClosed) ||
		errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network)
}

// away reports whether Postgres could not be reached or is not ready yet, as
// opposed to having refused us.
func away(err error) bool {
	if err == nil {
		return false
	}
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		switch refused.Code {
		case "57P01", "57P02", "57P03", "53300": // shutting down, crashed, starting up, too many connections
			return true
		}
		return false
	}
	var parse *pgconn.ParseConfigError
	return !errors.As(err, &parse) && !errors.Is(err, pgx.ErrNoRows)
}
