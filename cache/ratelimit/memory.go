package ratelimit

import (
	"context"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"
)

// memoryShards is how many parts the memory has, each with a lock.
const memoryShards = 32

// memoryStore keeps what has been taken in this process. It holds a bounded
// number of entries, and forgets at random when there are more.
type memoryStore struct {
	seed   maphash.Seed
	limit  int // entries of a shard
	clock  func() int64
	shards [memoryShards]memoryShard
}

type memoryShard struct {
	mu      sync.Mutex
	entries map[subject]*entry // guarded by mu, with what it holds
}

// entry is what an identifier has taken of an endpoint.
type entry struct{ states []*state }

var _ store = (*memoryStore)(nil)

func newMemoryStore(limit int) *memoryStore {
	m := &memoryStore{seed: maphash.MakeSeed(), limit: max(1, limit/memoryShards), clock: monotonic()}
	for i := range m.shards {
		m.shards[i].entries = map[subject]*entry{}
	}
	return m
}

// monotonic returns a clock in microseconds that is never set.
func monotonic() func() int64 {
	start := time.Now()
	base := start.UnixMicro()
	return func() int64 { return base + time.Since(start).Microseconds() }
}

func (m *memoryStore) shard(s subject) *memoryShard {
	return &m.shards[maphash.String(m.seed, s.identifier)%memoryShards]
}

func (m *memoryStore) decide(_ context.Context, q *query) error {
	shard := m.shard(q.subject)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	q.now = m.clock() // under the lock: times of a log are in order
	n, e := int64(q.n), shard.entries[q.subject]
	q.allowed = true
	for i, l := range q.limits {
		s := e.find(l)
		if s == nil {
			s = &state{}
		}
		q.verdicts[i] = s.look(l, q.now, n)
		q.allowed = q.allowed && q.verdicts[i].retry == 0
	}
	if !q.allowed || !q.take {
		return nil
	}
	if e == nil {
		e = m.add(shard, q)
	}
	for i, l := range q.limits {
		q.verdicts[i] = e.state(l, q.now).take(l, q.now, n, q.verdicts[i])
	}
	return nil
}

// find returns the state of a limit, or nil.
func (e *entry) find(l Limit) *state {
	if e != nil {
		id := l.identity()
		for _, s := range e.states {
			if s.id == id {
				return s
			}
		}
	}
	return nil
}

// state returns that of a limit, a new one if there is none. It then drops
// others that have nothing left.
func (e *entry) state(l Limit, now int64) *state {
	if s := e.find(l); s != nil {
		return s
	}
	e.states = slices.DeleteFunc(e.states, func(s *state) bool { return s.expires <= now })
	s := &state{id: l.identity()}
	e.states = append(e.states, s)
	return s
}

// add stores a new entry. It drops some that have nothing left, more than one
// for each that comes, and any other if that makes no room.
func (m *memoryStore) add(shard *memoryShard, q *query) *entry {
	looked := 0
	for s, other := range shard.entries { // begins anywhere
		if other.expired(q.now) {
			delete(shard.entries, s)
		}
		if looked++; looked >= 4 {
			break
		}
	}
	for s := range shard.entries {
		if len(shard.entries) < m.limit {
			break
		}
		delete(shard.entries, s)
	}
	e, s := &entry{}, q.subject
	s.identifier, s.endpoint = strings.Clone(s.identifier), strings.Clone(s.endpoint)
	shard.entries[s] = e
	return e
}

func (e *entry) expired(now int64) bool {
	for _, s := range e.states {
		if s.expires > now {
			return false
		}
	}
	return true
}

func (m *memoryStore) reset(_ context.Context, s subject) error {
	shard := m.shard(s)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	delete(shard.entries, s)
	return nil
}

func (m *memoryStore) close() error { return nil }
