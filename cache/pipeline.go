package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// maxRepeats is how often one Apply repeats its batch by itself while the
// Cluster's slots move, before it leaves that to the caller.
const maxRepeats = 5

// errRepeat says that the batch must be sent again, to masters found anew.
var errRepeat = errors.New("slots have moved")

func (a *redisApplier) apply(ctx context.Context, b Batch) (Applied, error) {
	applied := Applied{}
	if b.WantExisted {
		applied.Existed = map[string]struct{}{}
	}
	a.raiseAhead(b)
	for repeat := 0; ; repeat++ {
		topo, err := a.taken()
		if err != nil {
			return applied, err
		}
		err = a.applyTo(ctx, topo, b, &applied)
		if err == nil || !errors.Is(err, errRepeat) || repeat == maxRepeats {
			return applied, err
		}
		if err := sleep(ctx, time.Duration(repeat)*20*time.Millisecond); err != nil {
			return applied, err
		}
		if err := a.refresh(ctx, topo); err != nil {
			return applied, err
		}
	}
}

// raiseAhead notes the batch's LSN. It never goes back within an epoch, also
// when old batches are applied again.
func (a *redisApplier) raiseAhead(b Batch) {
	if b.Ahead == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hushed = false
	if a.ahead.epoch != b.Epoch || a.ahead.lsn < b.Ahead {
		a.ahead = ahead{epoch: b.Epoch, lsn: b.Ahead}
	}
}

// sent is what is written of how far ahead deletes are; zero for nothing.
func (a *redisApplier) sent() ahead {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.hushed {
		return ahead{}
	}
	return a.ahead
}

// share is what one master has to remove.
type share struct {
	keys []string
	bare []string // keys without a lease: generations of tags
	// group is how many keys one command names: many where no slots can move
	// and nobody asks which of them there were, else one.
	group int
}

// groupSize keeps a command of many keys below a tenth of a millisecond of
// Redis' time.
const groupSize = 128

func (a *redisApplier) applyTo(ctx context.Context, topo *topology, b Batch, applied *Applied) error {
	shares, err := split(topo, b, a.cfg.Prefix)
	if err != nil {
		return fmt.Errorf("%w: %w", errRepeat, err)
	}
	results := make([]result, len(topo.masters))
	err = topo.each(func(m *master) error {
		i := topo.index(m)
		results[i].Existed = existedFor(b, topo, applied)
		return a.applyShare(ctx, m, shares[i], &results[i])
	})
	var asked []asked
	for _, r := range results {
		applied.Removed += r.Removed
		applied.Commands += r.Commands
		for key := range r.Existed {
			applied.Existed[key] = struct{}{}
		}
		asked = append(asked, r.asked...)
	}
	if err != nil || len(asked) == 0 {
		return err
	}
	return a.follow(ctx, topo, asked, applied)
}

// result is what one master's pipelines did.
type result struct {
	Applied
	asked []asked // still to be removed elsewhere
}

// existedFor returns the set that one master's goroutine fills: the result's
// own where there is only one.
func existedFor(b Batch, topo *topology, applied *Applied) map[string]struct{} {
	switch {
	case !b.WantExisted:
		return nil
	case len(topo.masters) == 1:
		return applied.Existed
	default:
		return map[string]struct{}{}
	}
}

// split divides a batch among the masters.
func split(topo *topology, b Batch, prefix string) ([]share, error) {
	shares := make([]share, len(topo.masters))
	bare := make([]string, 0, len(b.Tags)+1)
	for _, tag := range b.Tags {
		bare = append(bare, tagPrefix+tag)
	}
	if b.AllTags {
		bare = append(bare, tagPrefix+prefix)
	}
	if topo.bySlot == nil {
		shares[0] = share{keys: b.Keys, bare: bare, group: groupSize}
		if b.WantExisted {
			shares[0].group = 1
		}
		return shares, nil
	}
	for i := range shares {
		shares[i].group = 1
	}
	for _, key := range b.Keys {
		m, err := topo.of(key)
		if err != nil {
			return nil, err
		}
		s := &shares[topo.index(m)]
		s.keys = append(s.keys, key)
	}
	for _, key := range bare {
		m, err := topo.of(key)
		if err != nil {
			return nil, err
		}
		s := &shares[topo.index(m)]
		s.bare = append(s.bare, key)
	}
	return shares, nil
}

// applyShare sends one master's share in pipelines, one after the other.
func (a *redisApplier) applyShare(ctx context.Context, m *master, s share, res *result) error {
	for len(s.keys) > 0 || len(s.bare) > 0 {
		part := share{group: s.group}
		room := max(a.cfg.Pipeline-2, 2)
		part.keys, s.keys = cut(s.keys, min(room/2*s.group, maxPipelineKeys))
		if len(s.keys) == 0 {
			part.bare, s.bare = cut(s.bare, max(room-2*len(part.keys)/s.group, 1))
		}
		if err := a.send(ctx, m, part, res); err != nil {
			return err
		}
	}
	return nil
}

// maxPipelineKeys bounds how long a pipeline takes, whatever its commands name.
const maxPipelineKeys = 8 * 1024

func cut(names []string, n int) (head, tail []string) {
	n = min(max(n, 0), len(names))
	return names[:n], names[n:]
}

// send sends one pipeline and checks every reply.
func (a *redisApplier) send(ctx context.Context, m *master, s share, res *result) error {
	ahead := a.sent()
	b := m.book
	// The counter is compared and advanced by one pipeline at a time.
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		p := newRemoval(ctx, a, m, s, ahead)
		res.Commands += p.pipe.Len()
		b.attempted = true
		if _, err := p.pipe.Exec(ctx); err != nil && !isServerReply(err) {
			return err // the connection's; what was executed is unknown
		}
		retry, err := p.check(ctx, res)
		if err != nil {
			return err
		}
		if !retry {
			return nil
		}
		if err := a.scripts.load(ctx, m.client); err != nil {
			return err
		}
	}
}

// removal is one pipeline with its commands.
type removal struct {
	a       *redisApplier
	m       *master
	s       share
	pipe    redis.Pipeliner
	raise   *redis.Cmd
	leases  []*redis.IntCmd
	values  []*redis.IntCmd
	bare    []*redis.IntCmd
	advance *redis.Cmd
}

func newRemoval(ctx context.Context, a *redisApplier, m *master, s share, ahead ahead) *removal {
	p := &removal{a: a, m: m, s: s, pipe: m.client.Pipeline()}
	if ahead.lsn != 0 {
		p.raise = a.raise(ctx, p.pipe, m, ahead)
	}
	leases := make([]string, min(s.group, len(s.keys)))
	for keys := range slices.Chunk(s.keys, max(s.group, 1)) {
		for i, key := range keys {
			leases[i] = LeaseKey(key)
		}
		// The leases first: a fill before this is deleted with the value, a
		// fill after it is refused.
		p.leases = append(p.leases, p.pipe.Unlink(ctx, leases[:len(keys)]...))
		p.values = append(p.values, p.pipe.Unlink(ctx, keys...))
	}
	for _, key := range s.bare {
		p.bare = append(p.bare, p.pipe.Unlink(ctx, key))
	}
	p.advance = a.advance(ctx, p.pipe, m)
	return p
}

func (a *redisApplier) raise(ctx context.Context, c redis.Cmdable, m *master, ahead ahead) *redis.Cmd {
	return c.EvalSha(ctx, a.scripts.raise.Hash(), []string{m.key(aheadPrefix, a.cfg.Name)},
		ahead.epoch, fmt.Sprintf("%016x", uint64(ahead.lsn)))
}

// advance sends the counter on. The book must be locked.
func (a *redisApplier) advance(ctx context.Context, c redis.Cmdable, m *master) *redis.Cmd {
	return c.EvalSha(ctx, a.scripts.advance.Hash(),
		[]string{m.key(counterPrefix, a.cfg.Name), m.key(positionPrefix, a.cfg.Name)},
		m.book.counter(m.book.number), m.book.counter(m.book.number+1))
}

// check looks at every reply. retry says that the server did not know the
// scripts.
func (p *removal) check(ctx context.Context, res *result) (retry bool, err error) {
	var asked []asked
	for i, cmd := range p.leases {
		leaseErr, valueErr := cmd.Err(), p.values[i].Err()
		if to, ok := askedOf(leaseErr, valueErr); ok {
			asked = append(asked, askedKey(p.s.keys[i], to)) // in a Cluster a command names one key
			continue
		}
		if err := errors.Join(leaseErr, valueErr); err != nil {
			return false, removalError(err)
		}
	}
	for i, cmd := range p.bare {
		if to, ok := askedOf(cmd.Err(), nil); ok {
			asked = append(asked, askedBare(p.s.bare[i], to))
			continue
		}
		if err := cmd.Err(); err != nil {
			return false, removalError(err)
		}
	}
	for i, cmd := range p.values {
		res.Removed += int(cmd.Val())
		if cmd.Val() > 0 && res.Existed != nil {
			res.Existed[p.s.keys[i]] = struct{}{}
		}
	}
	if p.raise != nil {
		switch err := p.raise.Err(); {
		case err == nil || IsFull(err): // it removed the value where there was no memory for a new one
		case isNoScript(err):
			return true, nil
		default:
			return false, removalError(err)
		}
	}
	if isNoScript(p.advance.Err()) {
		return true, nil
	}
	if err := p.a.advanced(ctx, p.m, p.advance); err != nil {
		return false, err
	}
	res.asked = append(res.asked, asked...)
	return false, nil
}

// removalError says of an error whether the batch must be sent to other
// masters.
func removalError(err error) error {
	if _, moved := redis.IsMovedError(err); moved {
		return fmt.Errorf("%w: %w", errRepeat, err)
	}
	if _, ask := redis.IsAskError(err); ask || redis.IsTryAgainError(err) {
		return fmt.Errorf("%w: %w", errRepeat, err)
	}
	return err
}

// advanced evaluates the reply of the script that advances the counter. The
// book must be locked.
func (a *redisApplier) advanced(ctx context.Context, m *master, cmd *redis.Cmd) error {
	b := m.book
	if err := cmd.Err(); err != nil {
		if IsFull(err) {
			// The deletes are made, and the position will not move over them.
			if !b.unproven {
				a.cfg.Logger.Warn("redis is full: deleting goes on, the position stays", "master", m.addr)
			}
			b.unproven = true
			return nil
		}
		return removalError(err)
	}
	code, counter, position, err := verdictOf(cmd)
	if err != nil {
		return err
	}
	switch code {
	case 1:
	case 0:
		if err := a.restore(ctx, m, b.number+1); err != nil {
			return err
		}
	default:
		return a.foreign(m, counter, position)
	}
	b.number++
	b.attempted = false
	if b.unproven {
		return fmt.Errorf("%w: %s was full, and nothing vouches for the deletes of that time", ErrRolledBack, m.addr)
	}
	return nil
}

// verdictOf reads the reply {code, counter, position} of a script.
func verdictOf(cmd *redis.Cmd) (code int64, counter, position string, err error) {
	reply, err := cmd.Slice()
	if err != nil {
		return 0, "", "", err
	}
	code, _ = reply[0].(int64)
	if len(reply) == 3 {
		counter, _ = reply[1].(string)
		position, _ = reply[2].(string)
	}
	return code, counter, position, nil
}

// restore writes bookkeeping again that is missing, if the master is still the
// process with the data set that was taken over: then it was evicted. The book
// must be locked.
func (a *redisApplier) restore(ctx context.Context, m *master, number uint64) error {
	conn := m.client.Conn()
	defer conn.Close()
	r, err := identify(ctx, conn)
	if err != nil {
		return err
	}
	if r != m.book.run {
		return fmt.Errorf("%w: %s lost its bookkeeping and is not the process that was taken over", ErrRolledBack, m.addr)
	}
	err = a.scripts.restore.Run(ctx, conn,
		[]string{m.key(positionPrefix, a.cfg.Name), m.key(counterPrefix, a.cfg.Name)},
		m.book.positions[0], m.book.counter(number)).Err()
	if err == nil {
		a.cfg.Logger.Info("bookkeeping was evicted and is written again", "master", m.addr)
	}
	return err
}

// foreign says what it means that a master's counter or position is not what
// was left there. A term that was seen before is an older state of this master;
// any other can only come from somebody who took over since.
func (a *redisApplier) foreign(m *master, counter, position string) error {
	term, owner := termOf(counter)
	a.mu.Lock()
	known := a.terms[term]
	a.mu.Unlock()
	if counter == "" {
		if p, err := decodePosition(position); err == nil {
			owner, known = p.Owner, p.Owner == m.book.name
		} else {
			known = true
		}
	}
	if known {
		return fmt.Errorf("%w: %s has counter %q", ErrRolledBack, m.addr, counter)
	}
	return fmt.Errorf("%w: %s is owned by %q", ErrForeignOwner, m.addr, owner)
}

// sleep waits, or returns the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
