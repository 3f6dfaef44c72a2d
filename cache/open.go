package cache

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// limits are the time-outs of a connection where the URL sets none.
type limits struct {
	dial, io time.Duration
	retries  int // MaxRetries
}

// isMemory reports whether a URL asks for a store in this process.
func isMemory(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && u.Scheme == "memory"
}

// dial makes a client for a URL: of a Cluster where the URL names several
// addresses, of a Sentinel group where it names a master, else of one server.
// It does not connect.
func dial(raw string, l limits) (redis.UniversalClient, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("parse cache URL: %w", withoutURL(err))
	}
	query := u.Query()
	secure, raw, err := tlsFiles(u)
	if err != nil {
		return nil, fmt.Errorf("parse cache URL: %w", err)
	}
	switch {
	case query.Get("master_name") != "":
		opts, err := redis.ParseFailoverURL(raw)
		if err != nil {
			return nil, fmt.Errorf("parse cache URL: %w", withoutURL(err))
		}
		secure.apply(opts.TLSConfig)
		opts.DialTimeout, opts.ReadTimeout = or(opts.DialTimeout, l.dial), or(opts.ReadTimeout, l.io)
		opts.WriteTimeout, opts.MaxRetries = or(opts.WriteTimeout, l.io), or(opts.MaxRetries, l.retries)
		opts.DialerRetries, opts.ContextTimeoutEnabled = or(opts.DialerRetries, 1), true
		return redis.NewFailoverClient(opts), nil
	case query.Has("addr"):
		opts, err := redis.ParseClusterURL(raw)
		if err != nil {
			return nil, fmt.Errorf("parse cache URL: %w", withoutURL(err))
		}
		secure.apply(opts.TLSConfig)
		opts.DialTimeout, opts.ReadTimeout = or(opts.DialTimeout, l.dial), or(opts.ReadTimeout, l.io)
		opts.WriteTimeout = or(opts.WriteTimeout, l.io)
		opts.DialerRetries, opts.ContextTimeoutEnabled = or(opts.DialerRetries, 1), true
		opts.MaintNotificationsConfig = noMaintenance()
		return redis.NewClusterClient(opts), nil
	default:
		opts, err := redis.ParseURL(raw)
		if err != nil {
			return nil, fmt.Errorf("parse cache URL: %w", withoutURL(err))
		}
		secure.apply(opts.TLSConfig)
		opts.DialTimeout, opts.ReadTimeout = or(opts.DialTimeout, l.dial), or(opts.ReadTimeout, l.io)
		opts.WriteTimeout, opts.MaxRetries = or(opts.WriteTimeout, l.io), or(opts.MaxRetries, l.retries)
		opts.DialerRetries, opts.ContextTimeoutEnabled = or(opts.DialerRetries, 1), true
		opts.MaintNotificationsConfig = noMaintenance()
		return redis.NewClient(opts), nil
	}
}

// noMaintenance switches a handshake off that only Redis' own cloud answers.
func noMaintenance() *maintnotifications.Config {
	return &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

// withoutURL drops the URL from an error of package net/url: it may hold a
// password.
func withoutURL(err error) error {
	if parse := (*url.Error)(nil); errors.As(err, &parse) {
		return parse.Err
	}
	return err
}

func or[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}
