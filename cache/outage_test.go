package cache_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/servers"
	"github.com/freshet-dev/freshet/internal/servers/servertest"
)

// outagePhase is what callers saw during one phase of an outage.
type outagePhase struct {
	name  string
	begun time.Time
	took  time.Duration

	mu     sync.Mutex
	waits  []time.Duration // of calls of GetOrSet; guarded by mu
	errors int             // guarded by mu
	loads  atomic.Int64
	most   atomic.Int64 // loaders at the same time
}

func (p *outagePhase) note(took time.Duration, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waits = append(p.waits, took)
	if err != nil {
		p.errors++
	}
}

func (p *outagePhase) percentile(share float64) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	slices.Sort(p.waits)
	if len(p.waits) == 0 {
		return 0
	}
	return p.waits[int(share*float64(len(p.waits)-1))]
}

// TestRedisOutageUnderLoad: while Redis is away, killed or hanging, calls are
// served by loaders, within their limit and without errors, and afterwards by
// Redis again, all by itself. Run it with -v for the table.
func TestRedisOutageUnderLoad(t *testing.T) {
	t.Parallel()
	for name, outage := range map[string]struct {
		begin func(*servers.Redis) error
		end   func(context.Context, *servers.Redis) error
	}{
		"killed": {(*servers.Redis).Kill, func(ctx context.Context, r *servers.Redis) error { return r.Start(ctx) }},
		"hangs":  {(*servers.Redis).Pause, func(_ context.Context, r *servers.Redis) error { return r.Resume() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const callers, keys, limit = 32, 64, 16
			server := servertest.Redis(t)
			c, err := cache.Open(t.Context(), server.URL(), cache.Config{MaxLoads: limit, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			defer func() {
				if t.Failed() {
					stacks := make([]byte, 1<<20)
					t.Logf("what goes on:\n%s", stacks[:runtime.Stack(stacks, true)])
				}
			}()
			var present atomic.Pointer[outagePhase]
			enter := func(name string) *outagePhase {
				p := &outagePhase{name: name, begun: time.Now()}
				if old := present.Swap(p); old != nil {
					old.took = time.Since(old.begun)
				}
				return p
			}
			before := enter("before")
			var running atomic.Int64
			load := func(context.Context) (string, error) {
				p := present.Load()
				p.loads.Add(1)
				n := running.Add(1)
				defer running.Add(-1)
				for most := p.most.Load(); n > most && !p.most.CompareAndSwap(most, n); most = p.most.Load() {
				}
				return "value", pause(t.Context(), time.Millisecond)
			}
			ctx, stop := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			for i := range callers {
				wg.Go(func() {
					for n := 0; ctx.Err() == nil; n++ {
						p, start := present.Load(), time.Now()
						got, err := cache.GetOrSet(context.WithoutCancel(ctx), c, fmt.Sprintf("k:%d", (i*31+n)%keys), time.Minute, load)
						if err == nil && got != "value" {
							err = errors.New("wrong value")
						}
						p.note(time.Since(start), err)
						_ = pause(ctx, time.Millisecond)
					}
				})
			}
			hits := func(atLeast int64) {
				t.Helper()
				from := c.Stats().Hits
				servertest.Eventually(t, time.Minute, func() (bool, string) {
					n := c.Stats().Hits - from
					return n >= atLeast, fmt.Sprintf("%d hits; %+v", n, c.Stats().Counts)
				})
			}
			hits(2000)
			during := enter("during")
			if err := outage.begin(server); err != nil {
				t.Fatal(err)
			}
			servertest.Eventually(t, time.Minute, func() (bool, string) {
				n := during.loads.Load()
				return n >= 2000, fmt.Sprintf("%d loads", n)
			})
			if _, err := cache.Get[string](ctx, c, "k:1"); !errors.Is(err, cache.ErrUnavailable) {
				t.Errorf("get: got %v, want ErrUnavailable", err)
			}
			recovering := enter("recovering")
			if err := outage.end(t.Context(), server); err != nil {
				t.Fatal(err)
			}
			hits(2000)
			after := enter("after")
			hits(2000)
			stop()
			wg.Wait()
			enter("")
			var b strings.Builder
			w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
			fmt.Fprintln(w, "phase\ttook\tcalls\terrors\tp50\tp99\tmax\tloads\tat once\t")
			for _, p := range []*outagePhase{before, during, recovering, after} {
				fmt.Fprintf(w, "%s\t%v\t%d\t%d\t%v\t%v\t%v\t%d\t%d\t\n", p.name, p.took.Round(time.Millisecond), len(p.waits), p.errors,
					p.percentile(0.5).Round(10*time.Microsecond), p.percentile(0.99).Round(10*time.Microsecond),
					p.percentile(1).Round(10*time.Microsecond), p.loads.Load(), p.most.Load())
				if p.errors > 0 {
					t.Errorf("%s: %d calls failed", p.name, p.errors)
				}
				if p.most.Load() > limit {
					t.Errorf("%s: %d loaders at once, want %d at most", p.name, p.most.Load(), limit)
				}
			}
			w.Flush()
			t.Logf("Redis %s:\n%s", name, b.String())
		})
	}
}
