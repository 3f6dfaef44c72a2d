package stream

import (
	"fmt"

	"github.com/nats-io/nats.go"
)

// Dial connects to the server that cfg names, or to where its embedded server
// listens, for a client that only asks and listens. It tries once: whoever types a
// command waits for the answer. What the server refuses our user ends the
// connection, after cfg.OnRefused.
func Dial(cfg Config) (*nats.Conn, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if cfg.URL == "" {
		cfg.URL = "nats://" + cfg.Embedded.Listen
	}
	opts, err := connectOptions(cfg)
	if err != nil {
		return nil, err
	}
	opts = append(opts, nats.NoReconnect(), nats.ErrorHandler(func(nc *nats.Conn, _ *nats.Subscription, err error) {
		if refused := Refusal(err); refused != nil {
			if cfg.OnRefused != nil {
				cfg.OnRefused(refused)
			}
			nc.Close() // a request would be waited for in vain
		}
	}))
	conn, err := nats.Connect(cfg.URL, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to nats at %s: %w", redactURL(cfg.URL), err)
	}
	return conn, nil
}
