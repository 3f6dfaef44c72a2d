package cache

import (
	"bytes"
	"context"
	"time"
)

// memoryLease is a lease, or a tag's generation: a text that expires.
type memoryLease struct {
	token   string
	expires time.Time
}

// lease returns a lease that has not expired. The store must be locked.
func (s *memoryStore) lease(key string) (string, bool) { return textIn(s.leases, key) }

func textIn(texts map[string]memoryLease, key string) (string, bool) {
	l, ok := texts[key]
	if ok && !l.expires.After(time.Now()) {
		delete(texts, key)
		return "", false
	}
	return l.token, ok
}

// hold stores a lease. The store must be locked.
func (s *memoryStore) hold(key, token string, ttl time.Duration) { putText(s.leases, key, token, ttl) }

// putText stores a text, and drops some that have expired.
func putText(texts map[string]memoryLease, key, token string, ttl time.Duration) {
	now, looked := time.Now(), 0
	for other, l := range texts {
		if looked++; looked > 8 {
			break
		}
		if !l.expires.After(now) {
			delete(texts, other)
		}
	}
	texts[key] = memoryLease{token: token, expires: now.Add(ttl)}
}

// mine reports whether the lease is token's. The store must be locked.
func (s *memoryStore) mine(key, token string) bool {
	held, ok := s.lease(key)
	return ok && held == token
}

func (s *memoryStore) miss(_ context.Context, queries []missQuery) ([]missed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]missed, len(queries))
	for i, q := range queries {
		all[i] = s.missOne(q)
		all[i].gens = s.captureAll(q.names, q.namesTTL)
	}
	return all, nil
}

func (s *memoryStore) missOne(q missQuery) missed {
	if e, ok := s.value(q.key); ok {
		begins := e.value
		if len(begins) == 0 {
			begins = []byte(emptyIdent)
		}
		if len(q.useless) == 0 || !bytes.HasPrefix(begins, q.useless) {
			return missed{outcome: outcomePresent, value: e.value}
		}
		if !q.keep {
			delete(s.values, q.key)
		}
	}
	held, ok := s.lease(q.key)
	switch {
	case !ok, held == q.former:
		s.hold(q.key, q.token, q.lease)
		return missed{outcome: outcomeLoad}
	case held == absentMark:
		return missed{outcome: outcomeAbsent}
	default:
		return missed{outcome: outcomeWait}
	}
}

func (s *memoryStore) capture(_ context.Context, names []string, ttl time.Duration) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.captureAll(names, ttl), nil
}

// captureAll returns generations, and mints them. The store must be locked.
func (s *memoryStore) captureAll(names []string, ttl time.Duration) []string {
	gens := make([]string, len(names))
	for i, name := range names {
		gen, ok := textIn(s.tags, name)
		if !ok {
			gen = newGeneration()
		}
		if left := time.Until(s.tags[name].expires); !ok || left < ttl {
			putText(s.tags, name, gen, ttl+ttl/4)
		}
		gens[i] = gen
	}
	return gens
}

func (s *memoryStore) read(_ context.Context, q query) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var a answer
	if q.source != "" {
		position := ""
		if book := s.books[q.source]; book != nil {
			position = book.position.encode()
		}
		a.positions = []string{position}
	}
	if e, ok := s.value(q.key); ok && q.key != "" {
		a.value, a.ok, a.ttl = e.value, true, time.Until(e.expires)
	}
	for _, name := range q.names {
		gen, _ := textIn(s.tags, name)
		a.gens = append(a.gens, gen)
	}
	return a, nil
}

func (s *memoryStore) ahead(ctx context.Context, source string, keys []string) (LSN, bool, error) {
	f, known, err := s.frontier(ctx, source, keys)
	return f.begun, known, err
}

func (s *memoryStore) frontier(_ context.Context, source string, _ []string) (frontier, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	book := s.books[source]
	if book == nil || book.ahead.epoch == "" || book.ahead.epoch != book.position.Epoch {
		return frontier{}, false, nil
	}
	p := book.position
	return frontier{epoch: p.Epoch, begun: book.ahead.lsn, ended: p.Watermark(), removing: p.Removing}, true, nil
}

func (s *memoryStore) claim(_ context.Context, key, token string, ttl time.Duration) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, held := s.lease(key); held {
		return false, nil
	}
	s.hold(key, token, ttl)
	return true, nil
}

func (s *memoryStore) seize(_ context.Context, key, token string, ttl time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold(key, token, ttl)
	return nil
}

func (s *memoryStore) extend(_ context.Context, keys []string, token string, ttl time.Duration) ([]bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mine := make([]bool, len(keys))
	for i, key := range keys {
		if mine[i] = s.mine(key, token); mine[i] {
			s.hold(key, token, ttl)
		}
	}
	return mine, nil
}

func (s *memoryStore) fill(_ context.Context, token string, entries []entry) []filled {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]filled, len(entries))
	for i, e := range entries {
		if all[i].stored = s.mine(e.key, token); all[i].stored {
			delete(s.leases, e.key)
			s.put(e.key, e.value, e.ttl)
		}
	}
	return all
}

func (s *memoryStore) absent(_ context.Context, keys []string, token string, ttl time.Duration) []filled {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]filled, len(keys))
	for i, key := range keys {
		if all[i].stored = s.mine(key, token); all[i].stored {
			delete(s.values, key)
			delete(s.leases, key)
			if ttl > 0 {
				s.hold(key, absentMark, ttl)
			}
		}
	}
	return all
}

func (s *memoryStore) release(_ context.Context, keys []string, token string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		if s.mine(key, token) {
			delete(s.leases, key)
		}
	}
	return nil
}
