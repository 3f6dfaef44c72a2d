package cache

import (
	"context"
	"errors"
	"time"
)

// guardedStore puts a breaker before a store. Sweeps, listings, Info and Ping go
// by it: they are rare, and ask for themselves.
type guardedStore struct {
	store
	breaker *breaker
}

var _ store = (*guardedStore)(nil)

func guard(s store, b *breaker) *guardedStore { return &guardedStore{store: s, breaker: b} }

// errCallPanicked is how a call ends that a hook or a dialer of the client's ends.
var errCallPanicked = errors.New("cache: the call panicked")

// guarded makes one call.
func (s *guardedStore) guarded(ctx context.Context, call func() error) error {
	if !s.breaker.enter() {
		return errBroken
	}
	start := time.Now()
	err := errCallPanicked
	defer func() { s.breaker.leave(ctx, err, func() time.Duration { return time.Since(start) }) }()
	err = call()
	return err
}

func (s *guardedStore) get(ctx context.Context, key string) (value []byte, ok bool, err error) {
	err = s.guarded(ctx, func() (err error) {
		value, ok, err = s.store.get(ctx, key)
		return err
	})
	return value, ok, err
}

func (s *guardedStore) read(ctx context.Context, q query) (a answer, err error) {
	err = s.guarded(ctx, func() (err error) {
		a, err = s.store.read(ctx, q)
		return err
	})
	return a, err
}

func (s *guardedStore) getMany(ctx context.Context, keys []string) (values [][]byte, err error) {
	err = s.guarded(ctx, func() (err error) {
		values, err = s.store.getMany(ctx, keys)
		return err
	})
	return values, err
}

func (s *guardedStore) capture(ctx context.Context, names []string, ttl time.Duration) (gens []string, err error) {
	err = s.guarded(ctx, func() (err error) {
		gens, err = s.store.capture(ctx, names, ttl)
		return err
	})
	return gens, err
}

func (s *guardedStore) dropTags(ctx context.Context, names []string) error {
	return s.guarded(ctx, func() error { return s.store.dropTags(ctx, names) })
}

func (s *guardedStore) miss(ctx context.Context, queries []missQuery) (all []missed, err error) {
	err = s.guarded(ctx, func() (err error) {
		all, err = s.store.miss(ctx, queries)
		return err
	})
	return all, err
}

func (s *guardedStore) claim(ctx context.Context, key, token string, ttl time.Duration) (ok bool, err error) {
	err = s.guarded(ctx, func() (err error) {
		ok, err = s.store.claim(ctx, key, token, ttl)
		return err
	})
	return ok, err
}

func (s *guardedStore) seize(ctx context.Context, key, token string, ttl time.Duration) error {
	return s.guarded(ctx, func() error { return s.store.seize(ctx, key, token, ttl) })
}

func (s *guardedStore) ahead(ctx context.Context, source string, keys []string) (lsn LSN, ok bool, err error) {
	err = s.guarded(ctx, func() (err error) {
		lsn, ok, err = s.store.ahead(ctx, source, keys)
		return err
	})
	return lsn, ok, err
}

func (s *guardedStore) frontier(ctx context.Context, source string, keys []string) (f frontier, known bool, err error) {
	err = s.guarded(ctx, func() (err error) {
		f, known, err = s.store.frontier(ctx, source, keys)
		return err
	})
	return f, known, err
}

func (s *guardedStore) extend(ctx context.Context, keys []string, token string, ttl time.Duration) (mine []bool, err error) {
	err = s.guarded(ctx, func() (err error) {
		mine, err = s.store.extend(ctx, keys, token, ttl)
		return err
	})
	return mine, err
}

func (s *guardedStore) release(ctx context.Context, keys []string, token string) error {
	return s.guarded(ctx, func() error { return s.store.release(ctx, keys, token) })
}

func (s *guardedStore) remove(ctx context.Context, keys []string) (removed int, err error) {
	err = s.guarded(ctx, func() (err error) {
		removed, err = s.store.remove(ctx, keys)
		return err
	})
	return removed, err
}

func (s *guardedStore) ttl(ctx context.Context, key string) (left time.Duration, err error) {
	err = s.guarded(ctx, func() (err error) {
		left, err = s.store.ttl(ctx, key)
		return err
	})
	return left, err
}

func (s *guardedStore) touch(ctx context.Context, key string, ttl time.Duration) (ok bool, err error) {
	err = s.guarded(ctx, func() (err error) {
		ok, err = s.store.touch(ctx, key, ttl)
		return err
	})
	return ok, err
}

func (s *guardedStore) increment(ctx context.Context, key string, delta int64, ttl time.Duration) (sum int64, err error) {
	err = s.guarded(ctx, func() (err error) {
		sum, err = s.store.increment(ctx, key, delta, ttl)
		return err
	})
	return sum, err
}

func (s *guardedStore) fill(ctx context.Context, token string, entries []entry) (all []filled) {
	return s.guardFills(ctx, len(entries), func() []filled { return s.store.fill(ctx, token, entries) })
}

func (s *guardedStore) absent(ctx context.Context, keys []string, token string, ttl time.Duration) []filled {
	return s.guardFills(ctx, len(keys), func() []filled { return s.store.absent(ctx, keys, token, ttl) })
}

func (s *guardedStore) guardFills(ctx context.Context, n int, call func() []filled) (all []filled) {
	err := s.guarded(ctx, func() error {
		all = call()
		return all[0].err
	})
	if all == nil {
		all = make([]filled, n)
		for i := range all {
			all[i].err = err
		}
	}
	return all
}

func (s *guardedStore) set(ctx context.Context, entries []entry) (errs []error) {
	err := s.guarded(ctx, func() error {
		errs = s.store.set(ctx, entries)
		return errs[0]
	})
	if errs == nil {
		errs = make([]error, len(entries))
		for i := range errs {
			errs[i] = err
		}
	}
	return errs
}
