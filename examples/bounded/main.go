// Command bounded reads through the cache with a bound on how old the answer may
// be, again and again, and says where each answer came from. Stop Freshet while it
// runs: after the bound the answers come from the database, or are refused. README.md
// beside it says how to run it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/freshet-dev/freshet/cache"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Getenv("DATABASE_URL"), os.Getenv("REDIS_URL"), time.Second, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run reads once every pause until ctx ends.
func run(ctx context.Context, databaseURL, redisURL string, pause time.Duration, out io.Writer) error {
	db, err := pgxpool.New(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer db.Close()
	// Source names the Freshet instance: its position is what proves freshness.
	c, err := cache.Open(ctx, redisURL, cache.Config{Source: "notes"})
	if err != nil {
		return err
	}
	defer c.Close()

	for ctx.Err() == nil {
		// No older than two seconds; else from the database.
		from := "cache"
		_, err := cache.GetOrSet(ctx, c, "note:1", 10*time.Minute, func(ctx context.Context) (text string, err error) {
			from = "database"
			err = db.QueryRow(ctx, "select text from notes where id = 1").Scan(&text)
			return text, err
		}, cache.Within(2*time.Second))
		if err != nil && ctx.Err() == nil {
			return err
		}
		// The same bound for a caller that must not burden the database: an error.
		_, err = cache.Get[string](ctx, c, "note:1", cache.Within(2*time.Second), cache.OrStaleError())
		refused := errors.Is(err, cache.ErrStale)
		if _, err := fmt.Fprintf(out, "from the %s; refused to those who take nothing else: %v\n", from, refused); err != nil {
			return err
		}

		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil
}
