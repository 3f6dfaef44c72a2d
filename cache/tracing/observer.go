package tracing

import (
	"context"
	"errors"
	"strings"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/freshet-dev/freshet/cache"
)

const scope = "github.com/freshet-dev/freshet/cache/tracing"

// The names of spans' attributes.
const (
	// OperationKey is the operation, a [cache.Op].
	OperationKey = attribute.Key("freshet.cache.operation")
	// PrefixKey is the part of the key before its first colon, of the first key
	// for a call on several. A key without a colon has the empty one.
	PrefixKey = attribute.Key("freshet.cache.prefix")
	// OutcomeKey is how a read was served, a [cache.Outcome].
	OutcomeKey = attribute.Key("freshet.cache.outcome")
	// KeyKey is the key, pattern or tag, or several with commas in between. It is
	// there only with Config.Keys.
	KeyKey = attribute.Key("freshet.cache.key")
	// ErrorTypeKey is the kind of error that a call ended with, as OpenTelemetry
	// names this attribute: unavailable, stale, closed, canceled, timeout, or other
	// for any other one, such as a loader's.
	ErrorTypeKey = attribute.Key("error.type")
)

// Config configures an Observer. The zero value works.
type Config struct {
	// Provider makes the tracer. Defaults to OpenTelemetry's global one, as it is
	// when New is called or will be set later.
	Provider trace.TracerProvider
	// Keys puts whole keys, patterns and tags into the spans, and the texts of
	// errors, which may name them. They may hold personal data, and with many calls
	// they are much. Defaults to false.
	Keys bool
	// Next is told of every call too, with the span in its context: a cache has one
	// observer, and package metrics has another. Defaults to none.
	Next cache.Observer
}

// Observer makes spans. It is a [cache.Observer].
type Observer struct {
	tracer trace.Tracer
	cfg    Config
}

var _ cache.Observer = (*Observer)(nil)

// New returns an observer for cache.Config.Observer. It may serve several caches.
func New(cfg Config) *Observer {
	provider := cfg.Provider
	if provider == nil {
		provider = otel.GetTracerProvider()
	}
	return &Observer{tracer: provider.Tracer(scope), cfg: cfg}
}

// Observe begins a span, which end ends. That a key is not in the cache, or a
// row not in the database, is no error.
func (o *Observer) Observe(ctx context.Context, op cache.Op, key string) (_ context.Context, end func(cache.Outcome, error)) {
	ctx, span := o.tracer.Start(ctx, "cache "+string(op))
	// Most spans are of traces that nobody keeps: attributes only for those that
	// somebody does.
	if span.IsRecording() {
		span.SetAttributes(OperationKey.String(string(op)), PrefixKey.String(prefix(op, key)))
		if o.cfg.Keys {
			span.SetAttributes(KeyKey.String(key))
		}
	}
	var endNext func(cache.Outcome, error)
	if o.cfg.Next != nil {
		ctx, endNext = o.cfg.Next.Observe(ctx, op, key)
	}
	return ctx, func(outcome cache.Outcome, err error) {
		if endNext != nil {
			endNext(outcome, err)
		}
		if span.IsRecording() {
			o.result(span, outcome, err)
		}
		span.End()
	}
}

func (o *Observer) result(span trace.Span, outcome cache.Outcome, err error) {
	if outcome != "" {
		span.SetAttributes(OutcomeKey.String(string(outcome)))
	}
	if !failed(err) {
		return
	}
	kind := errorType(err)
	span.SetAttributes(ErrorTypeKey.String(kind))
	if !o.cfg.Keys {
		span.SetStatus(codes.Error, kind)
		return
	}
	span.RecordError(err)
	span.SetStatus(codes.Error, err.Error())
}

// prefix returns the part of a key before its first colon. What stands for
// several keys has the first one's.
func prefix(op cache.Op, key string) string {
	switch op {
	case cache.OpGetMany, cache.OpGetOrSetMany, cache.OpSetMany, cache.OpDelete, cache.OpInvalidateTags, cache.OpLoad:
		key, _, _ = strings.Cut(key, ", ")
	}
	first, _, found := strings.Cut(key, ":")
	if !found {
		return "" // no part of it is known to be free of personal data
	}
	return first
}

// failed reports whether a call failed, and did not just find nothing.
func failed(err error) bool {
	if batch := (*cache.BatchError)(nil); errors.As(err, &batch) {
		return true
	}
	return err != nil && !errors.Is(err, cache.ErrMiss) && !errors.Is(err, cache.ErrNotFound)
}

func errorType(err error) string {
	switch {
	case errors.Is(err, cache.ErrUnavailable):
		return "unavailable"
	case errors.Is(err, cache.ErrStale):
		return "stale"
	case errors.Is(err, cache.ErrClosed):
		return "closed"
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	}
	return "other"
}
