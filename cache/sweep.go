package cache

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// maxPasses is how often a pass is begun again because connections broke or
// slots moved, before the sweep fails.
const maxPasses = 8

// scanCount is how many names Redis looks at for one SCAN: about half a
// millisecond of its time.
const scanCount = 1000

// errPassBroken says that a pass did not see all there was.
var errPassBroken = errors.New("the scan was interrupted")

// sweeper removes what matches some patterns from every master.
type sweeper struct {
	nodes    *nodes
	globs    []glob
	share    float64 // of Redis' time
	rate     int     // values a second; 0: any
	count    int64   // of SCAN
	hooks    sweepHooks
	progress func(scanned, removed int64)
	// begin and end are called for each pass and master with the connection of
	// the pass; nil for none.
	begin, end func(ctx context.Context, m *master, conn *redis.Conn) error

	mu      sync.Mutex // one call of progress at a time
	scanned atomic.Int64
	removed atomic.Int64
	leases  atomic.Int64
}

// run makes both passes. The second begins when the first has ended on every
// master: SCAN promises only names that are there the whole time, and with the
// leases gone no fill that began earlier can land behind the cursor.
func (s *sweeper) run(ctx context.Context) (Swept, error) {
	start := time.Now()
	passes := []func(context.Context, *redis.Conn) error{s.sweepLeases, s.sweepValues}
	switch {
	case s.hooks.onePass:
		passes = passes[1:]
	case s.hooks.valuesFirst:
		passes[0], passes[1] = passes[1], passes[0]
	}
	var err error
	for i, pass := range passes {
		if i > 0 && s.hooks.betweenPasses != nil {
			s.hooks.betweenPasses()
		}
		if err = s.pass(ctx, pass); err != nil {
			break
		}
	}
	return Swept{
		Scanned: s.scanned.Load(), Removed: s.removed.Load(), Leases: s.leases.Load(), Took: time.Since(start),
	}, err
}

// pass calls sweep for every master, with a connection of its own, until it has
// been through all of them without an interruption.
func (s *sweeper) pass(ctx context.Context, sweep func(context.Context, *redis.Conn) error) error {
	var err error
	moves := moveSet{}
	for attempt := range maxPasses {
		if err := sleep(ctx, time.Duration(attempt*attempt)*20*time.Millisecond); err != nil {
			return err
		}
		err = s.tryPass(ctx, moves, sweep)
		if err == nil || !errors.Is(err, errPassBroken) {
			return err
		}
	}
	return err
}

func (s *sweeper) tryPass(ctx context.Context, moves moveSet, sweep func(context.Context, *redis.Conn) error) error {
	before, err := s.nodes.survey(ctx)
	if err != nil {
		return err
	}
	moves.add(before.moves)
	order := moves.order(before.masters)
	for _, stage := range order {
		if err := (&topology{masters: stage}).each(func(m *master) error { return s.sweepMaster(ctx, m, sweep) }); err != nil {
			return err
		}
	}
	if s.nodes.single != nil {
		return nil
	}
	after, err := s.nodes.survey(ctx)
	if err != nil {
		return err
	}
	happened := after.since(before)
	if happened == nil {
		return fmt.Errorf("%w: the cluster's masters changed", errPassBroken)
	}
	if !happened.within(order) {
		moves.add(*happened)
		return fmt.Errorf("%w: slots moved", errPassBroken)
	}
	return nil
}

// sweepMaster makes a pass over one master. Everything goes through one
// connection, so to one process; and that has to be a master to the end.
func (s *sweeper) sweepMaster(ctx context.Context, m *master, sweep func(context.Context, *redis.Conn) error) error {
	conn := m.client.Conn()
	defer conn.Close()
	r, err := identify(ctx, conn)
	if err != nil {
		return err
	}
	if s.begin != nil {
		if err := s.begin(ctx, m, conn); err != nil {
			return err
		}
	}
	if err := sweep(ctx, conn); err != nil {
		return s.broken(ctx, err)
	}
	if s.end != nil {
		if err := s.end(ctx, m, conn); err != nil {
			return s.broken(ctx, err)
		}
	}
	now, err := identify(ctx, conn)
	if err != nil {
		return s.broken(ctx, err)
	}
	if now != r {
		return fmt.Errorf("%w: %s is not what it was", errPassBroken, m.addr)
	}
	return nil
}

// broken says of a failure in the middle of a pass that the pass has to begin
// again, unless that would be of no use.
func (s *sweeper) broken(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, ErrForeignOwner) || errors.Is(err, ErrRolledBack) {
		return err
	}
	return fmt.Errorf("%w: %w", errPassBroken, err)
}

// sweepLeases removes the leases of all keys that match.
func (s *sweeper) sweepLeases(ctx context.Context, conn *redis.Conn) error {
	return s.scan(ctx, conn, leasePrefix+"*", func(lease string) bool {
		key, ok := leasedKey(lease)
		// A name that is no lease of ours may go if it matches either way.
		return ok && matchesAny(s.globs, key) || !ok && matchesAny(s.globs, strings.TrimPrefix(lease, leasePrefix))
	}, &s.leases, 0)
}

// sweepValues removes all values that match.
func (s *sweeper) sweepValues(ctx context.Context, conn *redis.Conn) error {
	return s.scan(ctx, conn, coveringPattern(s.globs), func(key string) bool {
		return !strings.HasPrefix(key, reserved) && matchesAny(s.globs, key)
	}, &s.removed, s.rate)
}

// scan lists every name and removes those that match.
func (s *sweeper) scan(ctx context.Context, conn *redis.Conn, pattern string, match func(string) bool, total *atomic.Int64, rate int) error {
	pace := pacer{share: s.share, rate: rate}
	cursor := uint64(0)
	var names []string
	for {
		began := time.Now()
		page, next, err := conn.Scan(ctx, cursor, pattern, s.count).Result()
		if err != nil {
			return err
		}
		names = names[:0]
		for _, name := range page {
			if match(name) {
				names = append(names, name)
			}
		}
		removed, err := unlinkAll(ctx, conn, names)
		if err != nil {
			return err
		}
		total.Add(removed)
		s.report(int64(len(page)))
		if next == 0 {
			return nil
		}
		cursor = next
		if err := sleep(ctx, pace.after(time.Since(began), removed)); err != nil {
			return err
		}
	}
}

func (s *sweeper) report(scanned int64) {
	s.scanned.Add(scanned)
	if s.progress == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress(s.scanned.Load(), s.removed.Load())
}

// unlinkAll removes names one by one: a command of several keys fails while
// their slot moves.
func unlinkAll(ctx context.Context, conn *redis.Conn, names []string) (removed int64, err error) {
	removed, moved, err := unlinkOnce(ctx, conn, names, false)
	if err == nil && len(moved) > 0 {
		// Names in slots that are on their way here, and not ours yet.
		var more int64
		more, moved, err = unlinkOnce(ctx, conn, moved, true)
		removed += more
	}
	if err == nil && len(moved) > 0 {
		err = errors.New("slots have moved to another master")
	}
	return removed, err
}

func unlinkOnce(ctx context.Context, conn *redis.Conn, names []string, asking bool) (removed int64, moved []string, err error) {
	if len(names) == 0 {
		return 0, nil, nil
	}
	pipe := conn.Pipeline()
	cmds := make([]*redis.IntCmd, len(names))
	for i, name := range names {
		if asking {
			pipe.Do(ctx, "ASKING")
		}
		cmds[i] = pipe.Unlink(ctx, name)
	}
	if _, err := pipe.Exec(ctx); err != nil && !isServerReply(err) {
		return 0, nil, err
	}
	for i, cmd := range cmds {
		if _, ok := redis.IsMovedError(cmd.Err()); ok {
			moved = append(moved, names[i])
			continue
		}
		if _, ok := redis.IsAskError(cmd.Err()); ok {
			continue // it has gone to a master that is scanned after this one
		}
		if err := cmd.Err(); err != nil {
			return removed, moved, err
		}
		removed += cmd.Val()
	}
	return removed, moved, nil
}

// pacer keeps a scan within its share of Redis' time and its rate.
type pacer struct {
	share float64
	rate  int
}

// after returns how long to pause after a step.
func (p pacer) after(took time.Duration, removed int64) time.Duration {
	pause := time.Duration(0)
	if p.share > 0 && p.share < 1 {
		pause = time.Duration(float64(took) * (1 - p.share) / p.share)
	}
	if p.rate > 0 {
		due := time.Duration(float64(removed) / float64(p.rate) * float64(time.Second))
		pause = max(pause, due-took)
	}
	return pause
}

// coveringPattern returns one pattern for Redis to filter with that matches all
// that the globs match.
func coveringPattern(globs []glob) string {
	if len(globs) == 1 {
		return globs[0].pattern
	}
	common := globs[0].literal
	for _, g := range globs[1:] {
		n := 0
		for n < len(common) && n < len(g.literal) && common[n] == g.literal[n] {
			n++
		}
		common = common[:n]
	}
	return EscapePattern(common) + "*"
}

func (a *redisApplier) flush(ctx context.Context, patterns []string, rate int, progress func(scanned, removed int64)) (Swept, error) {
	ahead := a.sent()
	s := &sweeper{
		nodes: a.nodes, globs: newGlobs(patterns), share: a.cfg.ScanShare, rate: rate, count: or(a.cfg.hooks.count, scanCount),
		hooks: a.cfg.hooks, progress: progress,
	}
	s.begin = func(ctx context.Context, m *master, conn *redis.Conn) error {
		if ahead.lsn == 0 {
			return nil
		}
		if err := a.scripts.load(ctx, conn); err != nil {
			return err
		}
		if err := a.raise(ctx, conn, m, ahead).Err(); err != nil && !IsFull(err) {
			return err
		}
		return nil
	}
	// The counter stands behind a pass' deletes as it does behind a pipeline's.
	s.end = a.advanceAfterPass
	return s.run(ctx)
}

// advanceAfterPass advances the counter of a master through the connection of
// the pass.
func (a *redisApplier) advanceAfterPass(ctx context.Context, m *master, conn *redis.Conn) error {
	topo, err := a.taken()
	if errors.Is(err, ErrNotOwner) {
		return nil // nothing is promised before TakeOver
	}
	for _, known := range topo.masters {
		if known.addr != m.addr || known.tag != m.tag {
			continue
		}
		known.book.mu.Lock()
		defer known.book.mu.Unlock()
		known.book.attempted = true
		cmd := a.advance(ctx, conn, known)
		if isNoScript(cmd.Err()) {
			if err := a.scripts.load(ctx, conn); err != nil {
				return err
			}
			cmd = a.advance(ctx, conn, known)
		}
		return a.advanced(ctx, known, cmd)
	}
	if m.noSlots {
		return nil // what it takes over later is flushed when it is found without a position
	}
	// Its slots have moved since; Apply finds out which.
	if err := a.refresh(ctx, topo); err != nil {
		return err
	}
	return errPassBroken
}

func (a *redisApplier) countMatches(ctx context.Context, patterns []string) ([]int64, error) {
	globs := newGlobs(patterns)
	counts := make([]int64, len(patterns))
	var mu sync.Mutex
	topo, err := a.nodes.discover(ctx)
	if err != nil {
		return nil, err
	}
	covering := coveringPattern(globs)
	err = topo.each(func(m *master) error {
		pace := pacer{share: a.cfg.ScanShare}
		cursor := uint64(0)
		for {
			began := time.Now()
			page, next, err := m.client.Scan(ctx, cursor, covering, scanCount).Result()
			if err != nil {
				return err
			}
			mu.Lock()
			for _, key := range page {
				if strings.HasPrefix(key, reserved) {
					continue
				}
				for i := range globs {
					if globs[i].match(key) {
						counts[i]++
					}
				}
			}
			mu.Unlock()
			if next == 0 {
				return nil
			}
			cursor = next
			if err := sleep(ctx, pace.after(time.Since(began), 0)); err != nil {
				return err
			}
		}
	})
	return counts, err
}
