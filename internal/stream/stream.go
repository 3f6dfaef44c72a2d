package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// Stream is one instance's streams and KV bucket, with the connection to them.
// Its methods may be called from several goroutines.
type Stream struct {
	cfg      Config
	log      *slog.Logger
	embedded *embedded // nil when the server is not ours
	nc       *nats.Conn
	js       jetstream.JetStream
	kv       jetstream.KeyValue
	events   *eventQueue
	// readAhead is how many messages a reader takes in before they are asked
	// for; tests make it small.
	readAhead int

	closing  sync.Once
	closeErr error
}

// Info is the state of the change stream.
type Info struct {
	// ID is random, from the stream's metadata; another after re-creation.
	ID                string
	FirstSeq, LastSeq uint64
	Messages, Bytes   uint64
	FirstTime         time.Time
	MaxBytes          int64
	MaxAge            time.Duration
}

// Open connects, starting the embedded server when cfg.URL is empty, and
// creates or updates the streams and the bucket. While a remote server does
// not answer it tries again until ctx ends. What the server refuses our user is a
// *PermissionError.
func Open(ctx context.Context, cfg Config) (*Stream, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	report := cfg.OnRefused
	cfg.OnRefused = func(refused *PermissionError) {
		cancel(refused)
		if report != nil {
			report(refused)
		} else {
			cfg.Logger.Error(refused.Error()) //nolint:sloglint // the error's sentence is the line
		}
	}
	s, err := Attach(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := s.Ensure(ctx); err != nil {
		if refused := (*PermissionError)(nil); errors.As(context.Cause(ctx), &refused) {
			err = refused
		}
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Attach connects as Open does, and creates nothing: what the Stream does before
// Ensure is to look at, and to remove, what there is.
func Attach(ctx context.Context, cfg Config) (*Stream, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Stream{cfg: cfg, log: cfg.Logger, readAhead: readAhead}
	if cfg.URL == "" {
		if s.embedded, err = startEmbedded(ctx, cfg); err != nil {
			return nil, err
		}
		opts, err := connectOptions(cfg)
		if err != nil {
			return nil, errors.Join(err, s.embedded.close())
		}
		s.nc, err = nats.Connect("", append(opts, nats.InProcessServer(s.embedded.server))...)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("connect to the embedded nats server: %w", err), s.embedded.close())
		}
	} else if s.nc, err = connect(ctx, cfg); err != nil {
		return nil, err
	}
	if s.js, err = jetstream.New(s.nc); err != nil {
		return nil, errors.Join(fmt.Errorf("jetstream: %w", err), s.Close())
	}
	s.events = newEventQueue(s)
	return s, nil
}

// Close publishes what Emit still holds, disconnects, and stops the embedded
// server.
func (s *Stream) Close() error {
	s.closing.Do(func() {
		if s.events != nil {
			s.events.close()
		}
		if s.nc.IsConnected() {
			// What was published without waiting, such as events, should leave.
			_ = s.nc.FlushTimeout(time.Second)
		}
		s.nc.Close()
		if s.embedded != nil {
			s.closeErr = s.embedded.close()
		}
	})
	return s.closeErr
}

// Conn is the connection, which Close closes.
func (s *Stream) Conn() *nats.Conn { return s.nc }

// JetStream is the connection's JetStream client.
func (s *Stream) JetStream() jetstream.JetStream { return s.js }

// Subjects builds the instance's subjects.
func (s *Stream) Subjects() cdc.Subjects { return s.cfg.subjects() }

// KV is the instance's bucket.
func (s *Stream) KV() jetstream.KeyValue { return s.kv }

// ClientURL is what `nats -s` should be given, without secrets.
func (s *Stream) ClientURL() string {
	if s.embedded != nil {
		return s.embedded.server.ClientURL()
	}
	return redactURL(s.cfg.URL)
}

// Info asks for the state of the change stream. It returns ErrMissing when the
// stream does not exist.
func (s *Stream) Info(ctx context.Context) (Info, error) {
	name := s.cfg.streamName()
	js, err := s.js.Stream(ctx, name)
	if err != nil {
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return Info{}, fmt.Errorf("stream %q: %w", name, ErrMissing)
		}
		return Info{}, fmt.Errorf("stream %q: info: %w", name, err)
	}
	info := js.CachedInfo()
	return Info{
		ID:        info.Config.Metadata[metadataID],
		FirstSeq:  info.State.FirstSeq,
		LastSeq:   info.State.LastSeq,
		Messages:  info.State.Msgs,
		Bytes:     info.State.Bytes,
		FirstTime: info.State.FirstTime,
		MaxBytes:  info.Config.MaxBytes,
		MaxAge:    info.Config.MaxAge,
	}, nil
}
