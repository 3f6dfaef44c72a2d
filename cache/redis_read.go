package cache

import (
	"context"
	"errors"
	"sync"

	"github.com/redis/go-redis/v9"
)

func (s *redisStore) read(ctx context.Context, q query) (answer, error) {
	if q.source != "" {
		return s.readBounded(ctx, q)
	}
	pipe := s.rdb.Pipeline()
	r := s.ask(ctx, pipe, q, !s.clustered())
	_, _ = pipe.Exec(ctx) // each reply is looked at
	return r.answer()
}

// replies are those to the commands of a query.
type replies struct {
	value *redis.StringCmd
	ttl   *redis.DurationCmd
	gens  []*redis.StringCmd
	many  *redis.SliceCmd // the generations in one command
}

// ask queues the commands of a query, except those for positions.
func (s *redisStore) ask(ctx context.Context, pipe redis.Pipeliner, q query, oneNode bool) replies {
	var r replies
	if q.key != "" {
		r.value = pipe.Get(ctx, q.key)
		if q.ttl {
			r.ttl = pipe.PTTL(ctx, q.key)
		}
	}
	keys := make([]string, len(q.names))
	for i, name := range q.names {
		keys[i] = tagPrefix + name
	}
	if oneNode && len(keys) > 0 {
		r.many = pipe.MGet(ctx, keys...)
		return r
	}
	for _, key := range keys {
		r.gens = append(r.gens, pipe.Get(ctx, key))
	}
	return r
}

func (r replies) answer() (answer, error) {
	var a answer
	if r.value != nil {
		value, err := r.value.Bytes()
		if err != nil && !errors.Is(err, redis.Nil) {
			return a, err
		}
		a.value, a.ok = value, err == nil
	}
	if r.ttl != nil {
		left, err := r.ttl.Result()
		if err != nil {
			return a, err
		}
		a.ttl = timeLeft(left)
		a.ok = a.ok && a.ttl >= 0
	}
	if r.many != nil {
		all, err := r.many.Result()
		if err != nil {
			return a, err
		}
		for _, gen := range all {
			text, _ := gen.(string)
			a.gens = append(a.gens, text)
		}
	}
	for _, cmd := range r.gens {
		gen, err := cmd.Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			return a, err
		}
		a.gens = append(a.gens, gen)
	}
	return a, nil
}

// readBounded asks every master that a query concerns for its position first and
// then for what it has, in one round trip to each. Where a master turns out not
// to be the one, there is no position.
func (s *redisStore) readBounded(ctx context.Context, q query) (answer, error) {
	if s.nodes == nil {
		return answer{}, errNoMasters
	}
	topo, err := s.masters(ctx)
	if err != nil {
		return answer{}, err
	}
	unproven := answer{positions: []string{""}}
	parts, order, err := shareOut(topo, q)
	if err != nil {
		s.forgetMasters(topo)
		return unproven, nil //nolint:nilerr // a slot without a master: nothing is vouched for
	}
	answers, errs := make([]answer, len(parts)), make([]error, len(parts))
	var wg sync.WaitGroup
	for i, part := range parts {
		wg.Go(func() { answers[i], errs[i] = s.readAt(ctx, part.master, part.query) })
	}
	wg.Wait()
	whole := answer{gens: make([]string, len(q.names))}
	for i, a := range answers {
		switch {
		case errs[i] != nil && isServerReply(errs[i]):
			s.forgetMasters(topo) // moved, or another slot is the master's lowest by now
			return unproven, nil
		case errs[i] != nil:
			s.forgetMasters(topo) // it may be gone for good, and another in its place
			return answer{}, errs[i]
		}
		if parts[i].query.key != "" {
			whole.value, whole.ok, whole.ttl = a.value, a.ok, a.ttl
		}
		for j, gen := range a.gens {
			whole.gens[order[i][j]] = gen
		}
		whole.positions = append(whole.positions, a.positions...)
	}
	return whole, nil
}

// queryShare is the part of a query that one master answers.
type queryShare struct {
	master *master
	query  query
}

// shareOut divides a query by master. order says for each part which of the whole
// query's names its names are.
func shareOut(topo *topology, q query) (parts []queryShare, order [][]int, err error) {
	at := func(key string) (int, error) {
		m, err := topo.of(key)
		if err != nil {
			return 0, err
		}
		for i := range parts {
			if parts[i].master == m {
				return i, nil
			}
		}
		parts = append(parts, queryShare{master: m, query: query{source: q.source}})
		order = append(order, nil)
		return len(parts) - 1, nil
	}
	if q.key != "" {
		i, err := at(q.key)
		if err != nil {
			return nil, nil, err
		}
		parts[i].query.key, parts[i].query.ttl = q.key, q.ttl
	}
	for n, name := range q.names {
		i, err := at(tagPrefix + name)
		if err != nil {
			return nil, nil, err
		}
		parts[i].query.names = append(parts[i].query.names, name)
		order[i] = append(order[i], n)
	}
	return parts, order, nil
}

// readAt reads from one master. An error that is a server's reply means that
// nothing is proven there.
func (s *redisStore) readAt(ctx context.Context, m *master, q query) (answer, error) {
	pipe := m.client.Pipeline()
	position := pipe.Get(ctx, m.key(positionPrefix, q.source))
	r := s.ask(ctx, pipe, q, s.nodes.single != nil)
	_, _ = pipe.Exec(ctx) // each reply is looked at
	if err := position.Err(); err != nil {
		return answer{}, err
	}
	a, err := r.answer()
	a.positions = []string{position.Val()}
	return a, err
}

func (s *redisStore) ahead(ctx context.Context, source string, keys []string) (LSN, bool, error) {
	if s.nodes == nil {
		return 0, false, errNoMasters
	}
	topo, err := s.masters(ctx)
	if err != nil {
		return 0, false, err
	}
	seen, highest := map[*master]bool{}, LSN(0)
	for _, key := range keys {
		m, err := topo.of(key)
		if err != nil {
			s.forgetMasters(topo)
			return 0, false, nil //nolint:nilerr // a slot without a master: nothing is vouched for
		}
		if seen[m] {
			continue
		}
		seen[m] = true
		pipe := m.client.Pipeline()
		position, sent := pipe.Get(ctx, m.key(positionPrefix, source)), pipe.Get(ctx, m.key(aheadPrefix, source))
		pipe.Exists(ctx, key) // fails if the key's slot has moved
		if _, err := pipe.Exec(ctx); err != nil {
			s.forgetMasters(topo)
			if isServerReply(err) {
				return 0, false, nil
			}
			return 0, false, err
		}
		f, ok := frontierOf(position.Val(), sent.Val())
		if !ok {
			return 0, false, nil
		}
		highest = max(highest, f.begun)
	}
	return highest, len(seen) > 0, nil
}

func (s *redisStore) frontier(ctx context.Context, source string, keys []string) (frontier, bool, error) {
	if s.nodes == nil {
		return frontier{}, false, errNoMasters
	}
	topo, err := s.masters(ctx)
	if err != nil {
		return frontier{}, false, err
	}
	all, known := make([]frontier, len(topo.masters)), make([]bool, len(topo.masters))
	err = topo.each(func(m *master) error {
		i := topo.index(m)
		pipe := m.client.Pipeline()
		both := pipe.MGet(ctx, m.key(positionPrefix, source), m.key(aheadPrefix, source))
		for _, key := range keys {
			if at, err := topo.of(key); err == nil && at == m && topo.bySlot != nil {
				pipe.Exists(ctx, key) // fails if the key's slot has moved: to a master that is not asked, maybe
			}
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return err
		}
		position, _ := both.Val()[0].(string)
		sent, _ := both.Val()[1].(string)
		all[i], known[i] = frontierOf(position, sent)
		return nil
	})
	if err != nil {
		s.forgetMasters(topo)
		if isServerReply(err) {
			return frontier{}, false, nil
		}
		return frontier{}, false, err
	}
	whole, ok := all[0], known[0]
	for i, f := range all[1:] {
		joined, same := whole.join(f)
		whole, ok = joined, ok && known[i+1] && same
	}
	return whole, ok, nil
}

// masters returns the masters as they were found last.
func (s *redisStore) masters(ctx context.Context) (*topology, error) {
	if topo := s.topo.Load(); topo != nil {
		return topo, nil
	}
	topo, err := s.nodes.discover(ctx)
	if err == nil {
		s.topo.Store(topo)
	}
	return topo, err
}

// forgetMasters makes the next read with a bound find the masters anew.
func (s *redisStore) forgetMasters(topo *topology) {
	if topo.bySlot != nil {
		s.topo.CompareAndSwap(topo, nil)
	}
}
