package demo

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
)

// keepDoing lets count people do f, each with a pause in between, until ctx
// ends or f fails for another reason.
func keepDoing(ctx context.Context, count int, pause time.Duration, f func(context.Context) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for range count {
		group.Go(func() error {
			timer := time.NewTimer(0)
			defer timer.Stop()
			for {
				select {
				case <-ctx.Done():
					return nil
				case <-timer.C:
				}
				if err := f(ctx); err != nil && ctx.Err() == nil {
					return err
				}
				timer.Reset(pause)
			}
		})
	}
	return group.Wait()
}
