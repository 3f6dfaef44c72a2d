package cache

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// redisApplier is an Applier over Redis.
type redisApplier struct {
	nodes   *nodes
	cfg     ApplierConfig
	scripts applierScripts
	owned   redis.UniversalClient // closed with it; nil if somebody else's

	mu     sync.Mutex
	loaded *snapshot       // of the last Load; nil once something was taken over; guarded by mu
	topo   *topology       // that was taken over; nil before TakeOver; guarded by mu
	runs   map[run]*book   // of every server process taken over so far; guarded by mu
	terms  map[string]bool // every counter's term seen in a Load or taken over; guarded by mu
	ahead  ahead           // guarded by mu
	hushed bool            // ahead is not written before the next batch that has an LSN; guarded by mu
}

// ahead is the highest commit LSN that deletes were sent for.
type ahead struct {
	epoch string
	lsn   LSN
}

// snapshot is what Load found.
type snapshot struct {
	topo  *topology
	found []found // by index of topo.masters
}

// found is what Load found on one master.
type found struct {
	run      run
	position string // as stored; empty: none
	counter  string
}

func newRedisApplier(n *nodes, cfg ApplierConfig) *redisApplier {
	return &redisApplier{
		nodes: n, cfg: cfg, scripts: newApplierScripts(),
		runs: map[run]*book{}, terms: map[string]bool{},
	}
}

func (a *redisApplier) load(ctx context.Context) (Loaded, error) {
	topo, err := a.nodes.discover(ctx)
	if err != nil {
		return Loaded{}, err
	}
	s := &snapshot{topo: topo, found: make([]found, len(topo.masters))}
	sizes := make([]int64, len(topo.masters))
	if err := topo.each(func(m *master) error {
		i := topo.index(m)
		var err error
		s.found[i], sizes[i], err = a.inspect(ctx, m)
		return err
	}); err != nil {
		return Loaded{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.loaded = s
	loaded := Loaded{Masters: len(topo.masters)}
	var positions []Position
	var detail []string
	empty := 0
	lost := false
	for i, f := range s.found {
		m := topo.masters[i]
		if term, _ := termOf(f.counter); term != "" {
			a.terms[term] = true
		}
		p, err := decodePosition(f.position)
		switch {
		case f.position != "" && err == nil:
			positions = append(positions, p)
		case f.position == "" && a.runs[f.run] != nil:
			// The same process with the same data set: the key was evicted.
			p, err := a.runs[f.run].lowest()
			if err != nil {
				return Loaded{}, err
			}
			positions = append(positions, p)
			detail = append(detail, fmt.Sprintf("%s evicted its position", m.addr))
		case sizes[i] == 0:
			empty++
			detail = append(detail, fmt.Sprintf("%s is empty", m.addr))
		case f.position != "":
			lost = true
			detail = append(detail, fmt.Sprintf("%s has a position that cannot be read: %v", m.addr, err))
		default:
			lost = true
			detail = append(detail, fmt.Sprintf("%s has %d keys and no position", m.addr, sizes[i]))
		}
	}
	loaded.Detail = strings.Join(detail, "; ")
	if len(positions) > 0 {
		loaded.Position = lowest(positions)
	}
	switch {
	case lost:
		loaded.Verdict = VerdictLost
	case empty == len(topo.masters):
		loaded.Verdict = VerdictEmpty
	default:
		loaded.Verdict = VerdictContinue
	}
	return loaded, nil
}

// inspect reads what one master says of itself and of the position. All of it
// comes from one connection, so from one process.
func (a *redisApplier) inspect(ctx context.Context, m *master) (found, int64, error) {
	conn := m.client.Conn()
	defer conn.Close()
	pipe := conn.Pipeline()
	server, replication := pipe.Info(ctx, "server"), pipe.Info(ctx, "replication")
	both := pipe.MGet(ctx, m.key(positionPrefix, a.cfg.Name), m.key(counterPrefix, a.cfg.Name))
	size := pipe.DBSize(ctx)
	if _, err := pipe.Exec(ctx); err != nil {
		return found{}, 0, err
	}
	r, err := parseRun(server.Val(), replication.Val())
	if err != nil {
		return found{}, 0, err
	}
	f := found{run: r}
	f.position, _ = both.Val()[0].(string)
	f.counter, _ = both.Val()[1].(string)
	return f, size.Val(), nil
}

// identify asks which process and data set a connection leads to.
func identify(ctx context.Context, conn redis.Cmdable) (run, error) {
	pipe := conn.Pipeline()
	server, replication := pipe.Info(ctx, "server"), pipe.Info(ctx, "replication")
	if _, err := pipe.Exec(ctx); err != nil {
		return run{}, err
	}
	return parseRun(server.Val(), replication.Val())
}

var errNotMaster = errors.New("READONLY the server is a replica")

func parseRun(server, replication string) (run, error) {
	if role := infoField(replication, "role"); role != "master" {
		return run{}, fmt.Errorf("%w (role %q)", errNotMaster, role)
	}
	return run{id: infoField(server, "run_id"), replid: infoField(replication, "master_replid")}, nil
}

// infoField returns one field of what INFO replied.
func infoField(info, field string) string {
	for line := range strings.SplitSeq(info, "\r\n") {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return value
		}
	}
	return ""
}

func (a *redisApplier) takeOver(ctx context.Context, p Position) error {
	a.mu.Lock()
	s, topo := a.loaded, a.topo
	a.mu.Unlock()
	switch {
	case s != nil:
	case topo != nil:
		return a.retake(ctx, topo, p)
	default:
		return errors.New("nothing has been loaded")
	}
	position := p.encode()
	// A book is made once for every Load, so that a command without a reply can
	// be told from another's when it is repeated.
	for i, m := range s.topo.masters {
		if m.book == nil || m.book.name != p.Owner {
			m.book = newBook(s.found[i].run, p.Owner, position)
		}
	}
	err := s.topo.each(func(m *master) error {
		f := s.found[s.topo.index(m)]
		return a.takeMaster(ctx, m, f, position)
	})
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.topo, a.loaded = s.topo, nil
	for _, m := range s.topo.masters {
		a.runs[m.book.run] = m.book
		a.terms[m.book.term] = true
	}
	return nil
}

// retake takes over once more without a Load in between: from what was left.
func (a *redisApplier) retake(ctx context.Context, topo *topology, p Position) error {
	s := &snapshot{topo: &topology{bySlot: topo.bySlot}, found: make([]found, len(topo.masters))}
	for i, m := range topo.masters {
		fresh := *m
		fresh.book = nil
		s.topo.masters = append(s.topo.masters, &fresh)
		m.book.mu.Lock()
		s.found[i] = found{run: m.book.run, position: m.book.positions[0], counter: m.book.counter(m.book.number)}
		m.book.mu.Unlock()
	}
	a.mu.Lock()
	a.loaded = s
	a.mu.Unlock()
	return a.takeOver(ctx, p)
}

func (a *redisApplier) takeMaster(ctx context.Context, m *master, f found, position string) error {
	b := m.book
	b.mu.Lock()
	defer b.mu.Unlock()
	conn := m.client.Conn()
	defer conn.Close()
	r, err := identify(ctx, conn)
	if err != nil {
		return err
	}
	if r != f.run && f.counter == "" {
		// Without a counter only the process tells that nothing was forgotten.
		return fmt.Errorf("%w: it has no counter and is not the process that was loaded", ErrRolledBack)
	}
	b.run = r
	if err := a.scripts.load(ctx, conn); err != nil {
		return err
	}
	reply, err := a.scripts.takeOver.Run(ctx, conn,
		[]string{m.key(positionPrefix, a.cfg.Name), m.key(counterPrefix, a.cfg.Name)},
		f.position, f.counter, position, b.counter(0)).Slice()
	if err != nil {
		return err
	}
	if code, _ := reply[0].(int64); code != 1 {
		return fmt.Errorf("%w: %s had counter %q and has %q", ErrRolledBack, m.addr, f.counter, reply[1])
	}
	b.number, b.attempted, b.positions = 0, false, []string{position}
	return nil
}

// taken returns the masters that were taken over.
func (a *redisApplier) taken() (*topology, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.topo == nil {
		return nil, ErrNotOwner
	}
	return a.topo, nil
}

func (a *redisApplier) ping(ctx context.Context) error {
	topo, err := a.nodes.discover(ctx)
	if err != nil {
		return err
	}
	return topo.each(func(m *master) error { return m.client.Ping(ctx).Err() })
}

func (a *redisApplier) close() error {
	err := a.nodes.close()
	if a.owned != nil {
		err = errors.Join(err, a.owned.Close())
	}
	return err
}

func (t *topology) index(m *master) int {
	for i := range t.masters {
		if t.masters[i] == m {
			return i
		}
	}
	panic("cache: a master of another topology")
}

// lowest returns the lowest position that the master may have.
func (b *book) lowest() (Position, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	positions := make([]Position, len(b.positions))
	for i, text := range b.positions {
		p, err := decodePosition(text)
		if err != nil {
			return Position{}, err
		}
		positions[i] = p
	}
	return lowest(positions), nil
}
