package consumer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/stream"
)

const (
	backoffLeast = 100 * time.Millisecond
	backoffMost  = 5 * time.Second
	// soundFor is how long a session must have lasted for the next failure to count as the first.
	soundFor = 10 * time.Second
)

// errResend ends a session because the invalidator asked for what the stream lost.
var errResend = errors.New("the invalidator asked for the changes to be sent again")

// Consumer reads one replication slot and publishes what it reads to the change stream.
type Consumer struct {
	cfg    Config
	stream *stream.Stream
	log    *slog.Logger
	status statusBoard

	watermark       atomic.Pointer[stream.Watermark] // the last one heard of
	streamed        atomic.Bool                      // a session has begun since Run began
	lostPublication atomic.Bool                      // the slot holds what was written without the publication
	visibility      histogram
	tally           tally

	current atomic.Pointer[context.CancelCauseFunc] // ends the session that streams
}

// New checks cfg and returns a consumer that publishes to s. Nothing is connected before Run.
func New(cfg Config, s *stream.Stream) (*Consumer, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("consumer: %w", err)
	}
	c := &Consumer{cfg: cfg, stream: s, log: cfg.Logger}
	c.status.s = Status{State: StateStopped, Since: time.Now(), Slot: cfg.Slot, Publication: cfg.Publication}
	return c, nil
}

// Run reads, publishes and confirms until ctx ends, then drains and returns nil. Whatever can pass is retried; only a configuration
// that cannot work from the start ends it with an error, which names the remedy.
func (c *Consumer) Run(ctx context.Context) error {
	defer c.status.enter(StateStopped)
	c.streamed.Store(false)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return c.watch(ctx, "watermark", func(ctx context.Context) error {
			return c.stream.WatchWatermark(ctx, func(w stream.Watermark) { c.watermark.Store(&w) })
		})
	})
	g.Go(func() error {
		return c.watch(ctx, "resend requests", func(ctx context.Context) error {
			return c.stream.WatchResend(ctx, func() { c.end(errResend) })
		})
	})
	g.Go(func() error { return c.keepStreaming(ctx) })
	if err := g.Wait(); err != nil {
		return fmt.Errorf("consumer: %w", err)
	}
	return nil
}

// Status returns a snapshot of what the consumer is doing.
func (c *Consumer) Status() Status {
	s := c.status.snapshot()
	s.Visibility = c.visibility.snapshot()
	s.Tables, s.Rate = c.tally.snapshot(time.Now())
	return s
}

// watch calls f again whenever it fails.
func (c *Consumer) watch(ctx context.Context, what string, f func(context.Context) error) error {
	for ctx.Err() == nil {
		if err := f(ctx); err != nil && ctx.Err() == nil {
			c.log.Warn("watch interrupted", "of", what, "error", err)
		}
		if sleep(ctx, time.Second) != nil {
			break
		}
	}
	return nil //nolint:nilerr // a stop that was asked for
}

// end ends the session that streams now, if any.
func (c *Consumer) end(cause error) {
	if cancel := c.current.Load(); cancel != nil {
		(*cancel)(cause)
	}
}

// keepStreaming runs one session after the other.
func (c *Consumer) keepStreaming(ctx context.Context) error {
	for failures := 0; ; {
		began := time.Now()
		err := c.runSession(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // a stop that was asked for
		}
		if c.cannotWork(err) {
			c.keep(err)
			return err
		}
		if time.Since(began) > soundFor {
			failures = 0
		}
		switch {
		case errors.Is(err, errResend), errors.Is(err, errSlotTaken), errors.Is(err, errGovernor):
			c.log.Debug("session ends", "reason", err)
		default:
			c.fail(err)
		}
		c.status.enter(StateConnecting)
		if sleep(ctx, backoff(failures)) != nil {
			return nil //nolint:nilerr // a stop that was asked for
		}
		failures++
	}
}

// cannotWork reports whether trying again is pointless. Once a session has begun the configuration did work: whoever broke it
// since then may mend it, and until then everything waits.
func (c *Consumer) cannotWork(err error) bool {
	var remedy *catalog.RemedyError
	return (errors.Is(err, ErrConfiguration) || errors.As(err, &remedy)) && !c.streamed.Load()
}

// fail keeps why a session ended, and logs it unless it is what ended the one before: a server that is down is one line, not one for
// each attempt.
func (c *Consumer) fail(err error) {
	level := slog.LevelError
	if c.keep(err) {
		level = slog.LevelDebug
	}
	c.log.Log(context.Background(), level, "session ended, trying again", "slot", c.cfg.Slot, "error", err)
}

// keep puts why a session ended into the status, and reports whether it is what ended the one before.
func (c *Consumer) keep(err error) (again bool) {
	c.status.update(func(s *Status) {
		again = s.LastError == err.Error()
		s.LastError, s.Remedy, s.ErrorAt = err.Error(), remedyOf(err), time.Now().UTC()
	})
	return again
}

// backoff returns how long to wait after so many failures, with jitter.
func backoff(failures int) time.Duration {
	d := backoffLeast << min(failures, 10)
	d = min(d, backoffMost)
	return d/2 + rand.N(d/2+1)
}

// runSession opens a session and streams until something ends it.
func (c *Consumer) runSession(ctx context.Context) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer s.close(ctx)
	c.streamed.Store(true)
	c.status.enter(StateStreaming)
	c.log.Debug("streaming", "slot", c.cfg.Slot, "epoch", s.epoch, "from", s.from)

	streaming, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.current.Store(&cancel)
	defer c.current.Store(nil)
	if err := s.missedRequest(streaming); err != nil {
		return err
	}
	g, streaming := errgroup.WithContext(streaming)
	g.Go(func() error { return s.read(streaming) })
	g.Go(func() error { return s.observe(streaming) })
	err = g.Wait()
	if s.batch != nil {
		c.tally.close(s.batch)
	}
	if hasCode(err, codeUndefinedObject) {
		c.lostPublication.Store(true)
	}
	s.finish(ctx)
	return err
}

// missedRequest returns errResend when a request came between the session's look for one and now, when it can end the session.
func (s *session) missedRequest(ctx context.Context) error {
	requested, err := s.c.stream.ResendRequested(ctx)
	if err == nil && requested {
		err = errResend
	}
	return err
}

// finish confirms what can be confirmed before the session is closed.
func (s *session) finish(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	err := s.chain.Flush(ctx)
	if err == nil || errors.Is(err, stream.ErrSessionEnded) {
		err = s.confirm(ctx)
	}
	if err == nil {
		err = s.sendStatus(false)
	}
	if err != nil {
		s.c.log.Debug("last confirmation not sent", "error", err)
	}
}

// tableNames lists the configured tables.
func (c *Consumer) tableNames() []cdc.TableName {
	names := make([]cdc.TableName, len(c.cfg.Tables))
	for i, t := range c.cfg.Tables {
		names[i] = t.name()
	}
	return names
}

// emit announces an event.
func (c *Consumer) emit(kind, message string, fields map[string]any) {
	c.stream.Emit(stream.Event{Kind: kind, Time: time.Now().UTC(), Role: "consumer", Message: message, Fields: fields})
}

// announceGap announces a gap.
func (c *Consumer) announceGap(g *gap) {
	c.status.update(func(s *Status) {
		s.Gaps++
		s.GapReasons = maps.Clone(s.GapReasons) // snapshots share it
		if s.GapReasons == nil {
			s.GapReasons = map[string]uint64{}
		}
		s.GapReasons[g.Reason]++
		s.LastGap, s.LastGapAt = g.Reason, time.Now().UTC()
	})
	c.emit("gap", "changes may be missing: "+g.Detail+"; the caches are flushed",
		map[string]any{"id": g.ID, "reason": g.Reason, "tables": g.Tables})
}
