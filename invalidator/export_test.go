package invalidator

import "context"

// OnEffects makes f run between a batch's effects and its position.
func (c *Config) OnEffects(f func(context.Context)) { c.hooks.applied = f }

// OnPass makes f run at the beginning of every pass over the patterns of
// batches.
func (c *Config) OnPass(f func(context.Context)) { c.hooks.swept = f }
