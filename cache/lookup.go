package cache

import (
	"context"
	"slices"
	"time"
)

// lookup is what the cache has for one key and one call.
type lookup struct {
	payload []byte
	ok      bool          // payload is the key's value
	left    time.Duration // before it expires, where that was asked; 0: unknown, or no limit
	tags    []string      // of the entry, with the prefix

	expired []byte // the payload of an entry in its grace, for when the loader fails
	ident   []byte // what is there begins so, and nothing else does; nil: nothing is there
	useless []byte // the same, if it is no value for this call
	keep    bool   // and must stay there until there is another

	stale bool // nothing proves that what is there, or that nothing is there, meets the bound
	err   error

	mark   uint64 // of the near layer, taken before the store was read
	marked bool
}

// lookup reads a key. It costs one round trip, and a second where the entry has
// tags or a grace that the call does not name.
func (c *Cache) lookup(ctx context.Context, full string, s *settings) lookup {
	if s.bounded && c.cfg.Source == "" {
		c.warnBlind()
		return lookup{stale: true}
	}
	var l lookup
	if c.cfg.Near != nil && !s.bounded {
		l.mark, l.marked = c.cfg.Near.Mark()
	}
	q := query{key: full, ttl: l.marked || s.refreshAhead > 0 || s.failSafe > 0}
	if len(s.tags) > 0 {
		q.names = c.tagNames(s.tags)
	}
	if s.bounded {
		q.source = c.cfg.Source
	}
	a, err := c.ask(ctx, q, s)
	if err != nil {
		l.err, l.stale = err, s.bounded
		return l
	}
	if a.stale {
		l.stale = true
		return l
	}
	if needed := c.judge(&l, a.answer, q.names, q.ttl, s); needed != nil {
		q.names, q.ttl = append(q.names[:len(q.names):len(q.names)], needed...), true
		if a, err = c.ask(ctx, q, s); err != nil || a.stale {
			l.err, l.stale = err, s.bounded
			return l
		}
		if c.judge(&l, a.answer, q.names, true, s) != nil {
			l.ok = false // it changes faster than it can be read
		}
	}
	return l
}

// judged is an answer and whether it falls short of the bound.
type judged struct {
	answer
	stale bool
}

func (c *Cache) ask(ctx context.Context, q query, s *settings) (judged, error) {
	if len(q.names) == 0 && !q.ttl && q.source == "" {
		value, ok, err := c.store.get(ctx, q.key)
		return judged{answer: answer{value: value, ok: ok}}, err
	}
	a, err := c.store.read(ctx, q)
	if err != nil {
		return judged{}, err
	}
	return judged{answer: a, stale: s.bounded && !c.proven(a.positions, s)}, nil
}

// judge says what an answer is worth. It returns names of generations, or an
// empty list where only the time left is missing, if it cannot without them.
func (c *Cache) judge(l *lookup, a answer, names []string, timed bool, s *settings) (needed []string) {
	l.payload, l.ok, l.left, l.tags, l.expired, l.ident, l.useless, l.keep = nil, false, 0, nil, nil, nil, nil, false
	if !a.ok {
		return nil
	}
	e, err := decodeEntry(a.value)
	l.ident, l.useless = e.ident, e.ident
	if err != nil {
		return nil
	}
	if len(s.tags) > 0 && !e.carries(c.tagNames(s.tags)) {
		return nil
	}
	needed = e.unknown(c.cfg.Prefix, names)
	if len(needed) > 0 || e.grace > 0 && !timed {
		return append([]string{}, needed...)
	}
	if !e.current(c.cfg.Prefix, names, a.gens) {
		return nil
	}
	payload := e.payload
	if e.compressed {
		if payload, err = c.packer.unpack(e.payload); err != nil {
			return nil
		}
	}
	if e.grace > 0 && a.ttl > 0 && a.ttl <= e.grace {
		l.expired, l.keep = payload, true
		return nil
	}
	l.payload, l.ok, l.useless = payload, true, nil
	if a.ttl > 0 {
		l.left = a.ttl - e.grace
	}
	for _, g := range e.tags {
		l.tags = append(l.tags, g.tag)
	}
	return nil
}

// lookupMany reads keys, each with settings of its own that differ in tags alone.
// It costs a round trip, a second where entries have tags, and one for each key
// with a bound or a grace.
func (c *Cache) lookupMany(ctx context.Context, full []string, of func(i int) *settings) ([]lookup, error) {
	all := make([]lookup, len(full))
	if s := of(0); s.bounded || s.refreshAhead > 0 || s.failSafe > 0 {
		for i, key := range full {
			if all[i] = c.lookup(ctx, key, of(i)); all[i].err != nil {
				return all, all[i].err
			}
		}
		return all, nil
	}
	values, err := c.store.getMany(ctx, full)
	if err != nil {
		return all, err
	}
	var names []string
	var again []int
	for i, value := range values {
		needed := c.judge(&all[i], answer{value: value, ok: value != nil}, nil, false, of(i))
		if needed == nil {
			continue
		}
		again = append(again, i)
		for _, name := range needed {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	var a answer
	if len(names) > 0 {
		if a, err = c.store.read(ctx, query{names: names}); err != nil {
			return all, err
		}
	}
	for _, i := range again {
		one := answer{value: values[i], ok: true, gens: a.gens}
		if c.judge(&all[i], one, names, false, of(i)) != nil {
			all[i] = c.lookup(ctx, full[i], of(i)) // it has a grace
		}
	}
	return all, nil
}
