package invalidator

import (
	"context"
	"sync"

	"github.com/freshet-dev/freshet/internal/stream"
)

// heed keeps in mind whether the instance is paused, until ctx ends; the function
// that it returns waits for that.
func (v *Invalidator) heed(ctx context.Context) (wait func()) {
	known := sync.OnceFunc(func() { close(v.looked) })
	var watching sync.WaitGroup
	watching.Go(func() {
		v.stream.WatchPaused(ctx, func(p *stream.Pause) {
			v.paused.Store(p)
			v.stats.paused(p)
			known()
			signal(v.unpaused)
		})
	})
	return watching.Wait
}
