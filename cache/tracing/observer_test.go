package tracing_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/tracing"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// bundle is a cache whose spans are recorded.
type bundle struct {
	cache    *cache.Cache
	recorder *tracetest.SpanRecorder
	provider *sdk.TracerProvider
}

func traced(t *testing.T, url string, cfg tracing.Config) bundle {
	t.Helper()
	b := bundle{recorder: tracetest.NewSpanRecorder()}
	b.provider = sdk.NewTracerProvider(sdk.WithSpanProcessor(b.recorder))
	cfg.Provider = b.provider
	c, err := cache.Open(t.Context(), url, cache.Config{Observer: tracing.New(cfg)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	b.cache = c
	return b
}

// ended returns the spans that have ended, as text, oldest first, and checks
// that as many were begun.
func (b bundle) ended(t *testing.T) []string {
	t.Helper()
	if begun, ended := len(b.recorder.Started()), len(b.recorder.Ended()); begun != ended {
		t.Errorf("%d spans begun, %d ended", begun, ended)
	}
	var texts []string
	for _, span := range b.recorder.Ended() {
		text := span.Name()
		for _, a := range span.Attributes() {
			text += fmt.Sprintf(" %s=%s", strings.TrimPrefix(string(a.Key), "freshet.cache."), a.Value.AsString())
		}
		if status := span.Status(); status.Code != codes.Unset {
			text += fmt.Sprintf(" %v: %s", status.Code, status.Description)
		}
		texts = append(texts, text)
	}
	return texts
}

func same(t *testing.T, got []string, want ...string) {
	t.Helper()
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
}

// TestSpans: calls and what they are below, over a real server.
func TestSpans(t *testing.T) {
	t.Parallel()
	b := traced(t, servertest.Redis(t).URL(), tracing.Config{})
	ctx, c := t.Context(), b.cache
	ctx, request := b.provider.Tracer("test").Start(ctx, "request")
	for range 2 {
		_, err := cache.GetOrSet(ctx, c, "order:42", time.Minute, func(ctx context.Context) (int, error) {
			_, query := b.provider.Tracer("test").Start(ctx, "query")
			query.End()
			return 1, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	request.End()
	same(
		t, b.ended(t),
		"query",
		"cache load operation=load prefix=order",
		"cache get_or_set operation=get_or_set prefix=order outcome=miss",
		"cache get_or_set operation=get_or_set prefix=order outcome=hit",
		"request",
	)
	spans := b.recorder.Ended()
	for _, below := range [][2]int{{0, 1}, {1, 2}, {2, 4}, {3, 4}} {
		child, parent := spans[below[0]], spans[below[1]]
		if child.Parent().SpanID() != parent.SpanContext().SpanID() || child.SpanContext().TraceID() != parent.SpanContext().TraceID() {
			t.Errorf("%s is not below %s", child.Name(), parent.Name())
		}
	}
}

// TestNothingIsNoError: a miss and a row that does not exist are answers.
func TestNothingIsNoError(t *testing.T) {
	t.Parallel()
	b := traced(t, "memory://", tracing.Config{})
	ctx, c := t.Context(), b.cache
	_, _ = cache.Get[int](ctx, c, "user:1")
	absent := func(context.Context) (int, error) { return 0, fmt.Errorf("user 1: %w", cache.ErrNotFound) }
	if _, err := cache.GetOrSet(ctx, c, "user:1", time.Minute, absent); !errors.Is(err, cache.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	same(
		t, b.ended(t),
		"cache get operation=get prefix=user outcome=miss",
		"cache load operation=load prefix=user",
		"cache get_or_set operation=get_or_set prefix=user outcome=miss",
	)
}

// TestSecretsStayOut: nothing of a key but its prefix is in a span, whatever the
// call and whatever fails.
func TestSecretsStayOut(t *testing.T) {
	t.Parallel()
	b := traced(t, "redis://127.0.0.1:1", tracing.Config{}) // nobody answers there
	m := traced(t, "memory://", tracing.Config{})
	for _, c := range []*cache.Cache{b.cache, m.cache} {
		ctx, keys := t.Context(), []string{"user:secret, one", "client:secret"}
		fails := func(context.Context) (int, error) { return 0, errors.New("no row secret") }
		_, _ = cache.Get[int](ctx, c, keys[0])
		_, _ = cache.Get[int](ctx, c, "secret")
		_, _ = cache.GetMany[int](ctx, c, keys)
		_, _ = cache.GetMany[int](ctx, c, []string{"secret", "user:1"})
		_, _ = cache.GetOrSet(ctx, c, keys[0], time.Minute, fails)
		_, _ = cache.GetOrSetMany(ctx, c, keys, func(k string) string { return k }, time.Minute,
			func(context.Context, []string) (map[string]int, error) { return nil, errors.New("no rows secret") })
		_ = cache.Set(ctx, c, keys[0], 1, time.Minute)
		_ = cache.SetMany(ctx, c, map[string]int{"user:secret": 1}, time.Minute)
		_, _ = c.Increment(ctx, "visits:secret", 1, time.Minute)
		_ = c.Delete(ctx, keys...)
		_, _ = c.InvalidatePattern(ctx, "user:secret*")
		_ = c.InvalidateTags(ctx, "client:secret")
	}
	for _, b := range []bundle{b, m} {
		spans := b.ended(t)
		if len(spans) < 14 {
			t.Errorf("got %d spans", len(spans))
		}
		for i, span := range spans {
			if events := b.recorder.Ended()[i].Events(); strings.Contains(span, "secret") || len(events) > 0 {
				t.Errorf("%s %v", span, events)
			}
		}
	}
	down := strings.Join(b.ended(t), "\n")
	for _, want := range []string{
		"cache get operation=get prefix=user error.type=unavailable Error: unavailable",
		"cache get operation=get prefix= error.type=unavailable",
		"cache get_many operation=get_many prefix=user error.type=unavailable",
		"cache delete operation=delete prefix=user error.type=unavailable",
		"cache invalidate_pattern operation=invalidate_pattern prefix=user error.type=unavailable",
		"cache invalidate_tags operation=invalidate_tags prefix=client error.type=unavailable",
		"cache increment operation=increment prefix=visits error.type=unavailable",
		"cache load operation=load prefix=user error.type=other Error: other",
	} {
		if !strings.Contains(down, want) {
			t.Errorf("no span %q in\n%s", want, down)
		}
	}
}

func TestKeysOnRequest(t *testing.T) {
	t.Parallel()
	b := traced(t, "memory://", tracing.Config{Keys: true})
	_, err := cache.GetOrSet(t.Context(), b.cache, "user:7", time.Minute, func(context.Context) (int, error) {
		return 0, errors.New("the database is away")
	})
	if err == nil {
		t.Error("no error")
	}
	same(
		t, b.ended(t),
		"cache load operation=load prefix=user key=user:7 error.type=other Error: the database is away",
		"cache get_or_set operation=get_or_set prefix=user key=user:7 outcome=miss error.type=other Error: "+err.Error(),
	)
	if events := b.recorder.Ended()[0].Events(); len(events) != 1 || events[0].Name != "exception" {
		t.Errorf("got %v", events)
	}
}

func TestKindsOfErrors(t *testing.T) {
	t.Parallel()
	b := traced(t, "memory://", tracing.Config{})
	for _, tc := range []struct {
		err  error
		want string
	}{
		{cache.ErrUnavailable, "unavailable"},
		{cache.ErrStale, "stale"},
		{cache.ErrClosed, "closed"},
		{context.Canceled, "canceled"},
		{context.DeadlineExceeded, "timeout"},
		{errors.New("x"), "other"},
		{cache.ErrNotFound, ""},
		{cache.ErrMiss, ""},
		{&cache.BatchError{Failed: map[string]error{"a": cache.ErrNotFound}}, "other"},
	} {
		observer := tracing.New(tracing.Config{Provider: b.provider})
		_, end := observer.Observe(t.Context(), cache.OpGetOrSet, "user:7")
		end("", fmt.Errorf("get: %w", tc.err))
		ended := b.recorder.Ended()
		got := ""
		for _, a := range ended[len(ended)-1].Attributes() {
			if a.Key == tracing.ErrorTypeKey {
				got = a.Value.AsString()
			}
		}
		if got != tc.want {
			t.Errorf("%v: got %q, want %q", tc.err, got, tc.want)
		}
	}
}

// next is another observer.
type next struct {
	t     *testing.T
	calls []string
}

type nextKey struct{}

func (n *next) Observe(ctx context.Context, op cache.Op, key string) (_ context.Context, end func(cache.Outcome, error)) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		n.t.Errorf("%s %s: no span", op, key)
	}
	return context.WithValue(ctx, nextKey{}, true), func(outcome cache.Outcome, err error) {
		n.calls = append(n.calls, fmt.Sprint(op, " ", key, " ", outcome, " ", err))
	}
}

func TestNextIsToldToo(t *testing.T) {
	t.Parallel()
	n := &next{t: t}
	b := traced(t, "memory://", tracing.Config{Next: n})
	_, err := cache.GetOrSet(t.Context(), b.cache, "user:7", time.Minute, func(ctx context.Context) (int, error) {
		if ctx.Value(nextKey{}) == nil {
			t.Error("the other observer's context is lost")
		}
		return 1, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	same(t, n.calls, "load user:7  <nil>", "get_or_set user:7 miss <nil>")
	if len(b.ended(t)) != 2 {
		t.Errorf("got %v", b.ended(t))
	}
}

// TestPanickingLoader: the loader's span ends, as a failure.
func TestPanickingLoader(t *testing.T) {
	t.Parallel()
	b := traced(t, "memory://", tracing.Config{})
	func() {
		defer func() { _ = recover() }()
		_, _ = cache.GetOrSet(t.Context(), b.cache, "user:7", time.Minute, func(context.Context) (int, error) { panic("x") })
	}()
	if spans := b.recorder.Ended(); len(spans) == 0 || spans[0].Status().Code != codes.Error {
		t.Errorf("got %v", spans)
	}
}

// TestWithoutSDK: OpenTelemetry's default does nothing, and loses nothing.
func TestWithoutSDK(t *testing.T) {
	t.Parallel()
	c, err := cache.Open(t.Context(), "memory://", cache.Config{Observer: tracing.New(tracing.Config{})})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, err := cache.GetOrSet(t.Context(), c, "user:7", time.Minute, func(context.Context) (int, error) { return 1, nil }); got != 1 || err != nil {
		t.Errorf("got %d, %v", got, err)
	}
}

func BenchmarkWithoutSDK(b *testing.B) {
	observer, ctx := tracing.New(tracing.Config{}), context.Background()
	b.ReportAllocs()
	for b.Loop() {
		_, end := observer.Observe(ctx, cache.OpGet, "order:1")
		end(cache.OutcomeHit, nil)
	}
}
