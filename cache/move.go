package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

func (a *redisApplier) move(ctx context.Context, p Position) error {
	position := p.encode()
	for repeat := 0; ; repeat++ {
		topo, err := a.taken()
		if err != nil {
			return err
		}
		err = topo.each(func(m *master) error {
			if m.book.name != p.Owner {
				return fmt.Errorf("the position names owner %q, %q took over", p.Owner, m.book.name)
			}
			return a.moveMaster(ctx, m, position)
		})
		if err == nil || !errors.Is(err, errRepeat) || repeat == maxRepeats {
			return err
		}
		if err := a.refresh(ctx, topo); err != nil {
			return err
		}
	}
}

func (a *redisApplier) forgetAhead(ctx context.Context) error {
	topo, err := a.taken()
	if err != nil {
		return err
	}
	a.mu.Lock()
	a.hushed = true
	a.mu.Unlock()
	return topo.each(func(m *master) error {
		return m.client.Unlink(ctx, m.key(aheadPrefix, a.cfg.Name)).Err()
	})
}

func (a *redisApplier) moveMaster(ctx context.Context, m *master, position string) error {
	b := m.book
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.unproven {
		return a.prove(ctx, m)
	}
	args := []any{b.counter(b.number), b.counter(b.number), position}
	if b.attempted {
		args[1] = b.counter(b.number + 1)
	}
	for _, old := range b.positions {
		args = append(args, old)
	}
	added := !slices.Contains(b.positions, position)
	if added {
		if len(b.positions) > maxAttempts {
			return fmt.Errorf("%w: %d moves of %s went without a reply", ErrRolledBack, maxAttempts, m.addr)
		}
		b.positions = append(b.positions, position)
	}
	keys := []string{m.key(positionPrefix, a.cfg.Name), m.key(counterPrefix, a.cfg.Name)}
	for restored := false; ; restored = true {
		cmd := a.scripts.move.Run(ctx, m.client, keys, args...)
		if err := cmd.Err(); err != nil {
			if added && isServerReply(err) { // refused, so it certainly is not there
				b.positions = b.positions[:len(b.positions)-1]
			}
			return removalError(err)
		}
		code, counter, old, err := verdictOf(cmd)
		switch {
		case err != nil:
			return err
		case code == 1:
			b.positions = append(b.positions[:0], position)
			return nil
		case code == 0 && !restored:
			// The old position is put back, for the script to move it.
			if err := a.restore(ctx, m, b.number); err != nil {
				return err
			}
		default:
			return a.foreign(m, counter, old)
		}
	}
}

// prove tries the counter of a master that was full. While it is, that fails
// with an error that says so; once it is not, everything since the position has
// to be applied again. The book must be locked.
func (a *redisApplier) prove(ctx context.Context, m *master) error {
	cmd := a.advance(ctx, m.client, m)
	if isNoScript(cmd.Err()) {
		if err := a.scripts.load(ctx, m.client); err != nil {
			return err
		}
		cmd = a.advance(ctx, m.client, m)
	}
	if IsFull(cmd.Err()) {
		return cmd.Err()
	}
	return a.advanced(ctx, m, cmd)
}
