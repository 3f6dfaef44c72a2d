package tracing_test

import (
	"context"
	"fmt"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/cache/metrics"
	"github.com/freshet-dev/freshet/cache/tracing"
)

func ExampleNew() {
	ctx := context.Background()
	recorder := tracetest.NewSpanRecorder() // in production an exporter
	provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(recorder))
	observer := tracing.New(tracing.Config{
		Provider: provider,
		Next:     metrics.NewObserver(metrics.ObserverConfig{}), // histograms besides
	})
	c, err := cache.Open(ctx, "memory://", cache.Config{Observer: observer})
	if err != nil {
		panic(err)
	}
	defer c.Close()

	_, _ = cache.GetOrSet(ctx, c, "order:42", time.Minute, func(context.Context) (string, error) { return "PAID", nil })
	_, _ = cache.Get[string](ctx, c, "order:42")
	for _, span := range recorder.Ended() {
		fmt.Print(span.Name(), ":")
		for _, a := range span.Attributes() {
			fmt.Print(" ", a.Key, "=", a.Value.AsString())
		}
		fmt.Println()
	}
	// Output:
	// cache load: freshet.cache.operation=load freshet.cache.prefix=order
	// cache get_or_set: freshet.cache.operation=get_or_set freshet.cache.prefix=order freshet.cache.outcome=miss
	// cache get: freshet.cache.operation=get freshet.cache.prefix=order freshet.cache.outcome=hit
}
