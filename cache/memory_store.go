package cache

import (
	"context"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// defaultMemoryEntries is how many entries a store in memory holds by default.
const defaultMemoryEntries = 100_000

// memoryStore keeps entries in this process, for development and tests. It
// forgets entries at random when it is full, as Redis may do.
type memoryStore struct {
	limit int

	mu     sync.Mutex
	values map[string]memoryEntry // guarded by mu
	leases map[string]memoryLease // guarded by mu
	tags   map[string]memoryLease // generations; guarded by mu
	books  map[string]*memoryBook // of appliers, by name; guarded by mu
}

type memoryEntry struct {
	value   []byte
	expires time.Time
}

var _ store = (*memoryStore)(nil)

func newMemoryStore(limit int) *memoryStore {
	return &memoryStore{
		limit:  or(limit, defaultMemoryEntries),
		values: map[string]memoryEntry{}, leases: map[string]memoryLease{},
		tags: map[string]memoryLease{}, books: map[string]*memoryBook{},
	}
}

func (s *memoryStore) dropTags(_ context.Context, names []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		delete(s.tags, name)
	}
	return nil
}

func (s *memoryStore) increment(_ context.Context, key string, delta int64, ttl time.Duration) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.leases, key)
	e, ok := s.value(key)
	if !ok {
		s.put(key, strconv.AppendInt(nil, delta, 10), ttl)
		return delta, nil
	}
	n, err := strconv.ParseInt(string(e.value), 10, 64)
	if err != nil {
		return 0, errNoInteger
	}
	sum := n + delta
	if (sum > n) != (delta > 0) && delta != 0 {
		return 0, errOverflow
	}
	e.value = strconv.AppendInt(nil, sum, 10)
	s.values[key] = e
	return sum, nil
}

// replyError is what Redis would answer.
type replyError string

// Error returns the answer.
func (e replyError) Error() string { return string(e) }

// RedisError makes it one: the store is there.
func (replyError) RedisError() {}

const (
	errNoInteger replyError = "ERR value is not an integer or out of range"
	errOverflow  replyError = "ERR increment or decrement would overflow"
)

// value returns an entry that has not expired. The store must be locked.
func (s *memoryStore) value(key string) (memoryEntry, bool) {
	e, ok := s.values[key]
	if ok && !e.expires.After(time.Now()) {
		delete(s.values, key)
		return memoryEntry{}, false
	}
	return e, ok
}

// put stores a value, and makes room for it. The store must be locked.
func (s *memoryStore) put(key string, value []byte, ttl time.Duration) {
	if _, ok := s.values[key]; !ok {
		for other := range s.values {
			if len(s.values) < s.limit {
				break
			}
			delete(s.values, other)
		}
	}
	s.values[key] = memoryEntry{value: slices.Clone(value), expires: time.Now().Add(ttl)}
}

func (s *memoryStore) get(_ context.Context, key string) ([]byte, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.value(key)
	return e.value, ok, nil
}

func (s *memoryStore) getMany(_ context.Context, keys []string) ([][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	values := make([][]byte, len(keys))
	for i, key := range keys {
		if e, ok := s.value(key); ok {
			values[i] = e.value
		}
	}
	return values, nil
}

func (s *memoryStore) set(_ context.Context, entries []entry) []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range entries {
		delete(s.leases, e.key)
		s.put(e.key, e.value, e.ttl)
	}
	return make([]error, len(entries))
}

func (s *memoryStore) remove(_ context.Context, keys []string) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	removed := 0
	for _, key := range keys {
		delete(s.leases, key)
		if _, ok := s.value(key); ok {
			delete(s.values, key)
			removed++
		}
	}
	return removed, nil
}

func (s *memoryStore) ttl(_ context.Context, key string) (time.Duration, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.value(key)
	if !ok {
		return -1, nil
	}
	return withoutGrace(time.Until(e.expires), e.value), nil
}

func (s *memoryStore) touch(_ context.Context, key string, ttl time.Duration) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.value(key)
	if !ok || withoutGrace(time.Until(e.expires), e.value) < 0 {
		return false, nil
	}
	e.expires = time.Now().Add(ttl + graceOf(e.value))
	s.values[key] = e
	return true, nil
}

func (s *memoryStore) sweep(_ context.Context, patterns []string) (Swept, error) {
	start := time.Now()
	globs := newGlobs(patterns)
	s.mu.Lock()
	defer s.mu.Unlock()
	swept := Swept{Scanned: int64(len(s.leases) + len(s.values))}
	for key := range s.leases {
		if matchesAny(globs, key) {
			delete(s.leases, key)
			swept.Leases++
		}
	}
	for key := range s.values {
		if matchesAny(globs, key) {
			delete(s.values, key)
			swept.Removed++
		}
	}
	swept.Took = time.Since(start)
	return swept, nil
}

func (s *memoryStore) keys(_ context.Context, pattern string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		g, now := newGlob(pattern), time.Now()
		s.mu.Lock()
		var keys []string
		for key, e := range s.values {
			if g.match(key) && e.expires.After(now) && !strings.HasPrefix(key, reserved) {
				keys = append(keys, key)
			}
		}
		s.mu.Unlock()
		for _, key := range keys {
			if !yield(key, nil) {
				return
			}
		}
	}
}

func (s *memoryStore) ping(context.Context) error { return nil }
func (s *memoryStore) close() error               { return nil }
