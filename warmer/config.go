package warmer

import (
	"context"
	"crypto/rand"
	"log/slog"
	"time"
)

// Defaults of Config.
const (
	DefaultRate        = 200
	DefaultConcurrency = 8
	DefaultTimeout     = 5 * time.Second
)

// Config configures a Warmer. Only Name is required.
type Config struct {
	// Name is the instance's name, as in the configuration file.
	Name string
	// ID names this process in status and logs. Defaults to a random name.
	ID string
	// Rate is how many queries a second all warmers of the instance make at most,
	// together. Defaults to 200.
	Rate int
	// Concurrency is how many tasks this process works on at a time. Defaults to 8.
	Concurrency int
	// Timeout is how long a query may take; Postgres ends a longer one. Defaults
	// to 5s.
	Timeout time.Duration
	// Absent is how long it is remembered that there is no row, where the rule says
	// missing: absent. Defaults to 5s.
	Absent time.Duration
	// Logger receives state changes and errors. Defaults to slog.Default().
	Logger *slog.Logger

	hooks hooks
}

// hooks lets tests stop a task at a chosen place.
type hooks struct {
	leased  func(ctx context.Context, key string) // the lease is taken, the query has not been sent
	queried func(ctx context.Context, key string) // the answer is there, nothing is stored
}

func (h hooks) call(ctx context.Context, hook func(context.Context, string), key string) {
	if hook != nil {
		hook(ctx, key)
	}
}

// withDefaults returns the configuration with zero values replaced.
func (c Config) withDefaults() Config {
	if c.ID == "" {
		c.ID = "warm-" + rand.Text()[:10]
	}
	if c.Rate <= 0 {
		c.Rate = DefaultRate
	}
	c.Rate = min(c.Rate, maxRate)
	if c.Concurrency <= 0 {
		c.Concurrency = DefaultConcurrency
	}
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Absent <= 0 {
		c.Absent = 5 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// LeaseTime is how long a warmer's lease must last: its cache.Config.LoadTimeout.
// Readers of a missing key wait that long at most for a warmer that died.
func (c Config) LeaseTime() time.Duration {
	return c.withDefaults().Timeout + clientSlack + time.Second
}
