package near

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Config configures a Layer. Only Name is required.
type Config struct {
	// Name is the name of the Freshet instance whose broadcasts the layer hears,
	// as in its configuration and in cache.Config.Source. Under another instance's
	// name the layer hears nothing of this one's keys, and keeps them for TTL.
	Name string
	// NoInvalidator says that no invalidator serves the instance: the layer then
	// keeps entries without hearing one, and is as fresh as what the library's
	// instances tell each other. Defaults to false.
	NoInvalidator bool
	// MaxBytes is about how much the entries may take, keys and bookkeeping
	// included. Those that are asked for least go first. Defaults to 64 MiB.
	MaxBytes int64
	// TTL is how long an entry is kept at most. It bounds how long a change
	// stays unseen that nobody broadcasts: a write by a client other than this
	// library. Defaults to 5s.
	TTL time.Duration
	// Patience is how long any sender may be silent, and this layer's own
	// heartbeats take to come back, before the layer assumes that something was
	// lost. It bounds how long a lost broadcast stays unseen. At least two
	// heartbeats, 2s. Defaults to 3s.
	Patience time.Duration
	// Logger receives what is unusual. Defaults to slog.Default().
	Logger *slog.Logger

	hooks hooks
}

// hooks are what tests change.
type hooks struct {
	every time.Duration
	clock func() instant
}

func (c *Config) setDefaults() {
	if c.MaxBytes == 0 {
		c.MaxBytes = 64 << 20
	}
	if c.TTL == 0 {
		c.TTL = 5 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.hooks.every == 0 {
		c.hooks.every = Every
	}
	if c.Patience == 0 {
		c.Patience = 3 * c.hooks.every
	}
	if c.hooks.clock == nil {
		c.hooks.clock = newClock()
	}
}

// validate returns all that is wrong with a configuration that has its
// defaults, and with the connection.
func (c *Config) validate(conn *nats.Conn) error {
	var errs []error
	if c.Name == "" || strings.Trim(c.Name, nameChars) != "" {
		errs = append(errs, fmt.Errorf("near: name %q: an instance's name has letters, digits, _ and -", c.Name))
	}
	if c.MaxBytes < 0 {
		errs = append(errs, fmt.Errorf("near: max bytes %d: less than nothing", c.MaxBytes))
	}
	if c.TTL < 0 {
		errs = append(errs, fmt.Errorf("near: TTL %v: less than nothing", c.TTL))
	}
	if c.Patience < 2*c.hooks.every {
		errs = append(errs, fmt.Errorf("near: patience %v: less than two heartbeats, %v", c.Patience, 2*c.hooks.every))
	}
	switch {
	case conn == nil:
		errs = append(errs, errors.New("near: there is no connection"))
	case conn.Opts.NoEcho:
		errs = append(errs, errors.New("near: the connection has nats.NoEcho: the layer must hear itself to know that it hears others"))
	}
	return errors.Join(errs...)
}

const nameChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
