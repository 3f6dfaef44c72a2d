// Command readyourwrites changes a row and reads it through the cache at once, in
// the version that it has just written, while Freshet removes the cached one.
// README.md beside it says how to run it.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/freshet-dev/freshet/cache"
)

func main() {
	if err := run(context.Background(), os.Getenv("DATABASE_URL"), os.Getenv("REDIS_URL"), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, databaseURL, redisURL string, out io.Writer) error {
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

	read := func(opts ...cache.CallOption) (text, from string, err error) {
		from = "cache"
		text, err = cache.GetOrSet(ctx, c, "note:1", 10*time.Minute, func(ctx context.Context) (text string, err error) {
			from = "database"
			err = db.QueryRow(ctx, "select text from notes where id = 1").Scan(&text)
			return text, err
		}, opts...)
		return text, from, err
	}
	if _, _, err := read(); err != nil { // now it is cached
		return err
	}

	written := time.Now().Format(time.RFC3339Nano)
	if _, err := db.Exec(ctx, "update notes set text = $1 where id = 1", written); err != nil {
		return err
	}
	// After COMMIT. The token is a short string: put it into a cookie, a header or a
	// message, and whoever reads with it sees the change, in any process.
	token, err := cache.TokenFrom(ctx, db)
	if err != nil {
		return err
	}
	text, from, err := read(cache.AtLeast(token))
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "at once: own write seen: %v, from the %s\n", text == written, from); err != nil {
		return err
	}

	// A moment later Freshet has applied the change, and the cache can prove it.
	for from == "database" {
		if text, from, err = read(cache.AtLeast(token)); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(out, "a moment later: own write seen: %v, from the %s\n", text == written, from)
	return err
}
