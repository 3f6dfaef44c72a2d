package cache

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"
)

// play is one schedule of a scenario, from its beginning on. All of it is in one
// bubble of testing/synctest: between two steps every goroutine but the one that
// chooses is blocked, at a request, in its sleep, or waiting for another one.
type play struct {
	s      *scenario
	model  *modelRedis
	caches []*Cache // by process
	actors []*actor
	wg     sync.WaitGroup
	traces bool
	trace  []string // of the steps, if traces
	hashes bool
	hash   uint64 // of the world behind the last step, before any actor went on, if hashes

	mu      sync.Mutex
	w       *world
	parked  []*request        // waiting for their next step; guarded by mu
	names   map[string]uint64 // of random texts: what made them; guarded by mu
	aborted bool              // guarded by mu
	failure string            // the first; guarded by mu
}

// request is one round trip of an actor: a command, a pipeline or a query of the
// database. Each of its operations is a step.
type request struct {
	r       *play
	a       *actor
	id      uint64
	ops     []operation
	next    int
	repeats bool // the client sends it again by itself when there is no reply
	done    chan error
}

// operation is a single step of a request.
type operation struct {
	name    string
	args    []string           // of a Redis command; else empty
	loads   bool               // it is a query of the primary and no change
	call    func(w *world) any // what it does
	deliver func(reply any)    // to who sent it
}

type actorKey struct{}

func actorOf(ctx context.Context) *actor {
	a, _ := ctx.Value(actorKey{}).(*actor)
	return a
}

type playKey struct{}

// errAborted ends the actors of a run that nobody follows any more.
var errAborted = fmt.Errorf("the run is over")

// send makes the steps of a request as they are chosen. Without an actor, which
// is before the first step and behind the last, they are made at once.
func (r *play) send(ctx context.Context, ops []operation, repeats bool) error {
	q := &request{r: r, a: actorOf(ctx), ops: ops, repeats: repeats, done: make(chan error, 1)}
	r.mu.Lock()
	for i, op := range ops {
		r.nameTexts(q, i, op.args)
	}
	for q.next < len(ops) && (q.a == nil || r.s.silent(ops[q.next])) {
		op := ops[q.next]
		op.deliver(op.call(r.w))
		q.next++
	}
	if r.aborted && q.a != nil {
		r.mu.Unlock()
		return errAborted
	}
	if q.next == len(ops) {
		r.mu.Unlock()
		return nil
	}
	q.a.waits = q.a.waits && slices.Contains([]string{"GET", "MGET", "PTTL"}, ops[0].name)
	q.id = r.identify(q)
	r.parked = append(r.parked, q)
	r.mu.Unlock()
	return <-q.done
}

// identify returns a number that the request has in every run in which its
// process has seen the same. The run must be locked.
func (r *play) identify(q *request) uint64 {
	d := newDigest(r.names)
	d.number(r.w.memory[q.a.process])
	d.number(uint64(q.a.index))
	for _, op := range q.ops {
		d.text(op.name)
	}
	return d.h.Sum64()
}

// nameTexts gives names to the random texts of an operation, by what their process
// had seen when it made them. The run must be locked.
func (r *play) nameTexts(q *request, op int, args []string) {
	for i, arg := range args {
		long := len(arg) >= 12 || strings.HasPrefix(arg, magic)
		if _, known := r.names[arg]; known || !long || i < 2 || strings.HasPrefix(arg, reserved) {
			continue
		}
		d := newDigest(r.names)
		if q.a == nil {
			d.number(uint64(len(r.names)))
		} else {
			d.number(r.w.memory[q.a.process])
			d.number(uint64(q.a.index))
		}
		d.number(uint64(op))
		d.number(uint64(i))
		d.text(q.ops[op].name)
		r.names[arg] = d.h.Sum64()
	}
}

// fail notes what went wrong first.
func (r *play) fail(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure == "" && !r.aborted {
		r.failure = fmt.Sprintf(format, args...)
	}
}

// failed returns what went wrong, if anything did by now.
func (r *play) failed() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure != "" {
		return r.failure
	}
	return r.w.judge(r.s)
}

// start begins a run: the actors go up to their first requests.
func (s *scenario) start(traces bool) *play {
	r := &play{s: s, model: s.model, w: &world{losses: s.losses, ticks: s.ticks}, names: map[string]uint64{}, traces: traces}
	for i := range exploreKeys {
		r.w.db[i], r.w.standby[i], r.w.applied[i] = 1, 1, 1
	}
	for i, e := range s.events {
		r.w.events[i] = max(e.times, 1)
	}
	for range s.processes() {
		c := newCache(s.newStore(), s.config())
		if len(r.caches) == 1 {
			// This one reads first, and then asks for the lease; others do both at once.
			c.counters.of(exploreKeys[0]).strangers.score.Store(trendMost)
		}
		r.caches = append(r.caches, c)
	}
	ctx := context.WithValue(context.Background(), playKey{}, r)
	if s.setup != nil {
		s.setup(ctx, r)
	}
	for i, spec := range s.actors {
		a := &actor{r: r, index: i, process: spec.process, spec: spec, cache: r.caches[spec.process]}
		a.enter(ctx)
		if spec.applies {
			a.takeOver()
		}
		r.w.began[i] = true
		r.actors = append(r.actors, a)
	}
	for _, a := range r.actors {
		r.wg.Go(func() {
			a.spec.body(a)
			r.mu.Lock()
			defer r.mu.Unlock()
			a.done = true
		})
	}
	r.settle()
	return r
}

// settle waits until every actor is blocked, and sorts who can go on.
func (r *play) settle() {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.SortStableFunc(r.parked, func(p, q *request) int {
		return cmp.Or(cmp.Compare(p.a.index, q.a.index), cmp.Compare(p.ops[p.next].name, q.ops[q.next].name))
	})
}

// choiceKind is what a step is.
type choiceKind uint8

const (
	stepRequest choiceKind = iota // a request's next operation
	stepLoss                      // a request is sent again; what is left of it becomes a ghost
	stepGhost                     // a ghost's next operation
	stepEvent                     // something happens to Redis, or to the standby
	stepTime                      // time passes, and who sleeps wakes up
)

type choice struct {
	kind  choiceKind
	index int
}

// choices returns the steps that are possible now. A load behind the last change
// of the database is a step that nothing else can change or notice, so where there
// is one no other order of it is looked at.
func (r *play) choices() []choice {
	var all []choice
	for i, q := range r.parked {
		if q.ops[q.next].loads && r.w.changes == r.s.changes {
			return []choice{{stepRequest, i}}
		}
		all = append(all, choice{stepRequest, i})
	}
	for i, q := range r.parked {
		if r.w.losses > 0 && q.a.spec.loses && len(q.ops[q.next].args) > 0 {
			all = append(all, choice{stepLoss, i})
		}
	}
	for i := range r.w.ghosts {
		all = append(all, choice{stepGhost, i})
	}
	for i, e := range r.s.events {
		if r.w.events[i] > 0 && e.can(r.w) {
			all = append(all, choice{stepEvent, i})
		}
	}
	done := !slices.ContainsFunc(r.actors, func(a *actor) bool { return !a.done })
	if r.asleep() || len(r.parked) > 0 && r.w.ticks > 0 || len(all) == 0 && !done {
		all = append(all, choice{stepTime, 0})
	}
	return all
}

// asleep reports whether anybody waits for time to pass. Who waits neither for a
// step nor for another actor of its process does. In a process with several, it
// is who was told by miss of another's load, or of a value.
func (r *play) asleep() bool {
	for _, a := range r.actors {
		alone := !slices.ContainsFunc(r.actors, func(b *actor) bool { return b != a && b.process == a.process })
		parked := slices.ContainsFunc(r.parked, func(q *request) bool { return q.a == a })
		if !parked && !a.done && (alone || a.waits) {
			return true
		}
	}
	return false
}

// try makes a step in w, a copy of the run's world or that itself, and returns
// the reply that it has for the actor.
func (r *play) try(w *world, c choice) (reply any) {
	switch c.kind {
	case stepRequest:
		q := r.parked[c.index]
		if !w.began[q.a.index] {
			w.began[q.a.index], w.floor[q.a.index] = true, w.applied
		}
		if !r.s.late { // the connection that the ghost is on has ended
			w.ghosts = slices.DeleteFunc(w.ghosts, func(g ghost) bool { return g.q.a == q.a })
		}
		op := q.ops[q.next]
		reply = op.call(w)
		w.remember(r, q.a.process, q.a.index, op.name, reply)
	case stepLoss:
		q := r.parked[c.index]
		w.losses--
		w.ghosts = append(w.ghosts, ghost{q: q, next: q.next}) // its next operation is not silent
		w.remember(r, q.a.process, q.a.index, "lost", nil)
	case stepGhost:
		g := &w.ghosts[c.index]
		reply = g.q.ops[g.next].call(w)
		if g.next = r.s.loud(g.q.ops, g.next+1); g.next == len(g.q.ops) {
			w.ghosts = slices.Delete(w.ghosts, c.index, c.index+1)
		}
	case stepEvent:
		w.events[c.index]--
		r.s.events[c.index].happen(w)
	case stepTime:
		w.ticks--
		for i := range r.caches {
			w.remember(r, i, 0, "time", nil)
		}
	}
	return reply
}

// tick is how far time goes on in one step: whoever waits for another process
// looks again.
const tick = maxPause + time.Millisecond

// step makes a step and waits until all is quiet again.
func (r *play) step(c choice) {
	var q *request
	if c.kind == stepRequest || c.kind == stepLoss {
		q = r.parked[c.index]
	}
	before := r.w
	if r.traces {
		before = r.w.clone()
	}
	r.mu.Lock()
	reply := r.try(r.w, c)
	if r.hashes {
		r.hash = r.w.hash(r)
	}
	r.mu.Unlock()
	if r.traces {
		r.trace = append(r.trace, r.describe(before, c, reply))
	}
	switch {
	case c.kind == stepTime:
		<-time.After(tick)
	case q == nil:
	case c.kind == stepLoss && q.repeats:
		// The rest of the ghost's operations are its own.
		resent := *q
		resent.next = 0
		r.parked[c.index] = &resent
	case c.kind == stepLoss:
		r.resume(c.index, errLost)
	default:
		r.deliver(c.index, q, reply)
	}
	r.settle()
}

// deliver gives a reply to who waits for it.
func (r *play) deliver(index int, q *request, reply any) {
	op := q.ops[q.next]
	if op.name == "miss" {
		told := outcome(reply.([]any)[0].(int64))
		q.a.waits = told == outcomeWait || told == outcomePresent
	}
	op.deliver(reply)
	r.mu.Lock()
	for q.next++; q.next < len(q.ops) && r.s.silent(q.ops[q.next]); q.next++ {
		op := q.ops[q.next]
		op.deliver(op.call(r.w))
	}
	r.mu.Unlock()
	if q.next == len(q.ops) {
		r.resume(index, nil)
	}
}

func (r *play) resume(index int, err error) {
	r.mu.Lock()
	q := r.parked[index]
	r.parked = slices.Delete(r.parked, index, index+1)
	r.mu.Unlock()
	q.done <- err
}

// abort ends the actors wherever they are.
func (r *play) abort() {
	r.mu.Lock()
	r.aborted = true
	parked := r.parked
	r.parked = nil
	r.mu.Unlock()
	for _, q := range parked {
		q.done <- errAborted
	}
	r.wg.Wait()
	for _, c := range r.caches {
		_ = c.Close() // it closes nothing but itself
	}
}

// finished returns what is wrong where nothing can happen any more.
func (r *play) finished() string {
	ctx := context.WithValue(context.Background(), playKey{}, r)
	cfg := Config{Logger: quiet}
	cfg.setDefaults()
	reader := newCache(newExploreStore(), cfg)
	for i, key := range exploreKeys {
		v, err := Get[int](ctx, reader, key)
		seen, ok := r.w.visible(r.s, key)
		if (err == nil) != ok || v != seen {
			return fmt.Sprintf("%s: a reader finds %d (%v), the test %d", key, v, err, seen)
		}
		if ok && v < r.w.db[i] && r.w.applied[i] == r.w.db[i] {
			return "at the end " + key + " is stale"
		}
	}
	return ""
}
