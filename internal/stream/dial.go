package stream

import (
	"fmt"

	"github.com/nats-io/nats.go"
)

// Dial connects to the server that cfg names, or to where its embedded server
// listens, for a client that only asks and listens. It tries once: whoever types a
// command waits for the answer.
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
	conn, err := nats.Connect(cfg.URL, append(opts, nats.NoReconnect())...)
	if err != nil {
		return nil, fmt.Errorf("connect to nats at %s: %w", redactURL(cfg.URL), err)
	}
	return conn, nil
}
