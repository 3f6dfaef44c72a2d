package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	connectTimeout = 5 * time.Second
	reconnectWait  = 250 * time.Millisecond
	reconnectMax   = 250 * time.Millisecond // added jitter
	pingInterval   = 5 * time.Second
)

// connectOptions turns the configuration into the client's options.
func connectOptions(cfg Config) ([]nats.Option, error) {
	log := cfg.Logger
	opts := []nats.Option{
		nats.Name(cfg.ClientName),
		nats.Timeout(connectTimeout),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectMax, reconnectMax),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(2),
		// Nothing is kept for later while disconnected: a chained message must
		// not go out behind a hole, and a lease renewal must not go out late.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("nats connection lost", "error", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			log.Info("nats connection restored", "server", nc.ConnectedUrlRedacted())
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			if refused := Refusal(err); refused != nil && refused.needed() && cfg.OnRefused != nil {
				cfg.OnRefused(refused)
				return
			}
			subject := ""
			if sub != nil {
				subject = sub.Subject
			}
			log.Warn("nats error", "error", err, "subject", subject)
		}),
	}
	if cfg.Credentials != "" {
		if _, err := os.Stat(cfg.Credentials); err != nil {
			return nil, fmt.Errorf("nats.credentials: %w", err)
		}
		opts = append(opts, nats.UserCredentials(cfg.Credentials))
	}
	if cfg.User != "" {
		opts = append(opts, nats.UserInfo(cfg.User, cfg.Password))
	}
	if cfg.Token != "" {
		opts = append(opts, nats.Token(cfg.Token))
	}
	if cfg.NKeySeedFile != "" {
		opt, err := nats.NkeyOptionFromSeed(cfg.NKeySeedFile)
		if err != nil {
			return nil, fmt.Errorf("nats.nkey %q: %w", cfg.NKeySeedFile, err)
		}
		opts = append(opts, opt)
	}
	if cfg.CA != "" {
		if _, err := os.Stat(cfg.CA); err != nil {
			return nil, fmt.Errorf("nats.tls.ca: %w", err)
		}
		opts = append(opts, nats.RootCAs(cfg.CA))
	}
	if cfg.Cert != "" {
		opts = append(opts, nats.ClientCert(cfg.Cert, cfg.Key))
	}
	return opts, nil
}

// connect connects to a remote server. While none answers it tries again until
// ctx ends; what no waiting can mend is returned at once.
func connect(ctx context.Context, cfg Config) (*nats.Conn, error) {
	opts, err := connectOptions(cfg)
	if err != nil {
		return nil, err
	}
	where := redactURL(cfg.URL)
	wait := reconnectWait
	for attempt := 0; ; attempt++ {
		nc, err := nats.Connect(cfg.URL, opts...)
		if err == nil {
			return nc, nil
		}
		err = fmt.Errorf("connect to nats at %s: %w", where, err)
		if !worthRetrying(err) {
			return nil, err
		}
		if attempt == 0 {
			cfg.Logger.Log(ctx, slog.LevelWarn, "nats does not answer; trying until it does", "server", where, "error", err)
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(wait):
		}
		wait = min(2*wait, 2*time.Second)
	}
}

// worthRetrying tells a server that is away from a configuration that cannot
// work.
func worthRetrying(err error) bool {
	for _, permanent := range []error{
		nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrNkeysNotSupported,
		nats.ErrSecureConnRequired, nats.ErrSecureConnWanted,
	} {
		if errors.Is(err, permanent) {
			return false
		}
	}
	var urlError *url.Error
	if errors.As(err, &urlError) {
		return false
	}
	text := err.Error()
	return !strings.Contains(text, "x509") && !strings.Contains(text, "tls:") && !strings.Contains(text, "nkey")
}

// redactURL removes what is secret in a list of NATS URLs.
func redactURL(list string) string {
	parts := strings.Split(list, ",")
	for i, part := range parts {
		part = strings.TrimSpace(part)
		u, err := url.Parse(part)
		if err == nil && u.User != nil {
			if _, ok := u.User.Password(); ok {
				u.User = url.UserPassword(u.User.Username(), "xxxxx")
			} else {
				u.User = url.User("xxxxx") // a token
			}
			part = u.String()
		} else if err != nil {
			part = "(unreadable URL)"
		}
		parts[i] = part
	}
	return strings.Join(parts, ",")
}
