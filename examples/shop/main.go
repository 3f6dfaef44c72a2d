// Command shop is an example of a service that uses packages cache, httpcache
// and ratelimit: orders and clients in Postgres, cached in Redis, kept fresh by
// Freshet. README.md beside it says how to run it.
//
// Without a Redis it keeps its cache in memory, and without Freshet it
// invalidates what it changes by itself, so that it runs anywhere. Then it does
// not see what others change in the database.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/ratelimit"
)

const (
	headerTimeout   = 5 * time.Second
	shutdownTimeout = 10 * time.Second // for the requests that are under way
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Getenv, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "shop:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends, and then lets the requests that are under way
// finish.
func run(ctx context.Context, args []string, getenv func(string) string, stderr io.Writer) error {
	flags := flag.NewFlagSet("shop", flag.ContinueOnError)
	flags.SetOutput(stderr)
	listen := flags.String("listen", "127.0.0.1:8000", "`address` to listen on")
	databaseURL := flags.String("database", getenv("DATABASE_URL"), "Postgres `URL`, $DATABASE_URL")
	redisURL := flags.String("redis", getenv("REDIS_URL"), "Redis `URL`, $REDIS_URL; without one the cache is in memory")
	source := flags.String("source", getenv("FRESHET_SOURCE"),
		"`name` of the Freshet instance that keeps Redis fresh, $FRESHET_SOURCE; without one the shop invalidates by itself")
	if err := flags.Parse(args); err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(stderr, nil))
	if *redisURL == "" || strings.HasPrefix(*redisURL, "memory:") {
		*source = "" // Freshet cannot reach this process's memory
	}

	db, err := pgxpool.New(ctx, *databaseURL)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	defer db.Close()
	c, err := cache.Open(ctx, *redisURL, cache.Config{Source: *source, Logger: logger})
	if err != nil {
		return fmt.Errorf("open cache: %w", err)
	}
	defer c.Close()
	limiter, err := ratelimit.Open(ctx, *redisURL, ratelimit.Config{Logger: logger})
	if err != nil {
		return fmt.Errorf("open rate limiter: %w", err)
	}
	defer limiter.Close()

	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", *listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	logger.Info("shop listens", "address", listener.Addr().String(), "source", *source)
	server := &http.Server{Handler: newShop(db, c, limiter, *source != "", logger), ReadHeaderTimeout: headerTimeout}
	return serve(ctx, server, listener)
}

func serve(ctx context.Context, server *http.Server, listener net.Listener) error {
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err := server.Shutdown(stopping)
	if err != nil {
		err = errors.Join(fmt.Errorf("shut down: %w", err), server.Close())
	}
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("serve: %w", served))
	}
	return err
}
