package cache

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// refresh finds the masters anew after slots have moved, and carries over what
// is known of each. A master that was not taken over means that the positions
// have to be loaded again.
func (a *redisApplier) refresh(ctx context.Context, old *topology) error {
	topo, err := a.nodes.discover(ctx)
	if err != nil {
		return err
	}
	if err := topo.each(func(m *master) error { return a.adopt(ctx, m, old) }); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.topo == old { // else somebody else was faster
		a.topo = topo
	}
	return nil
}

// adopt gives a master the book that was kept of its process. Where another
// slot is its lowest now, the bookkeeping is written under the new names.
func (a *redisApplier) adopt(ctx context.Context, m *master, old *topology) error {
	conn := m.client.Conn()
	defer conn.Close()
	r, err := identify(ctx, conn)
	if err != nil {
		return err
	}
	for _, known := range old.masters {
		if known.book.run != r {
			continue
		}
		m.book = known.book
		if m.tag == known.tag {
			return nil
		}
		if err := a.rename(ctx, m, conn); err != nil {
			return err
		}
		// Readers that know the old names must not take them for the truth.
		// Where the slot has gone, so have the names.
		_ = conn.Del(ctx, known.key(positionPrefix, a.cfg.Name)).Err()
		_ = conn.Del(ctx, known.key(counterPrefix, a.cfg.Name)).Err()
		_ = conn.Del(ctx, known.key(aheadPrefix, a.cfg.Name)).Err()
		return nil
	}
	return fmt.Errorf("%w: %s is new among the masters", ErrRolledBack, m.addr)
}

// rename writes the bookkeeping of a master under the names that its lowest
// slot gives it now. Whatever stands there came with the slot from another
// master.
func (a *redisApplier) rename(ctx context.Context, m *master, conn *redis.Conn) error {
	b := m.book
	b.mu.Lock()
	defer b.mu.Unlock()
	pipe := conn.Pipeline()
	pipe.Del(ctx, m.key(aheadPrefix, a.cfg.Name))
	pipe.Set(ctx, m.key(positionPrefix, a.cfg.Name), b.positions[0], 0)
	pipe.Set(ctx, m.key(counterPrefix, a.cfg.Name), b.counter(b.number), 0)
	_, err := pipe.Exec(ctx)
	return err
}
