package cache

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// flight is one load of one key in this process, shared by all who ask for the
// key meanwhile.
type flight struct {
	done chan struct{} // closed when the fields below are set

	value []byte // the payload
	err   error
	own   any // of a batch: what the loader returned for the key; only for the caller whose loader it was

	load *loading // what its loader captures
	tags []string // that it was begun with, with the prefix
}

// carries reports whether a flight was begun with all of the tags. Callers do not
// join one that was not: the invalidation of a tag that it does not know does not
// keep it from those who come later.
func (fl *flight) carries(tags []string) bool {
	for _, tag := range tags {
		if !slices.Contains(fl.tags, tag) {
			return false
		}
	}
	return true
}

// touches reports whether an invalidation of tags concerns a flight.
func (fl *flight) touches(i *Invalidation) bool {
	return i.AllTags && len(fl.tags) > 0 || slices.ContainsFunc(fl.tags, func(tag string) bool { return slices.Contains(i.Tags, tag) }) ||
		fl.load.touches(i)
}

// flights are the loads under way.
type flights struct {
	wg sync.WaitGroup

	mu     sync.Mutex
	byKey  map[string]*flight    // guarded by mu
	voided map[string]*voidedKey // guarded by mu
	closed bool                  // guarded by mu
}

// voidedKey counts fills of one key in a row that an invalidation voided.
type voidedKey struct {
	count int
	last  time.Time
}

const (
	// patience is how many voided fills in a row of a key make callers stop
	// waiting for others that load it: it changes faster than it can be loaded.
	patience = 3
	// impatience is for how long.
	impatience = time.Second
	// maxVoided bounds how many keys are watched in that way.
	maxVoided = 1024
)

func (f *flights) init() {
	f.byKey = map[string]*flight{}
	f.voided = map[string]*voidedKey{}
}

// join returns the flight of a key, and starts one with fly where there is
// none, for the load. mine reports whether it was started here.
func (f *flights) join(key string, tags []string, load *loading, fly func() ([]byte, error)) (fl *flight, mine bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, false, ErrClosed
	}
	if fl := f.byKey[key]; fl != nil && fl.carries(tags) {
		return fl, false, nil
	}
	// The error stands if the loader ends its goroutine.
	fl = &flight{done: make(chan struct{}), err: errGoexit, load: load, tags: tags}
	f.byKey[key] = fl
	f.wg.Go(func() {
		defer close(fl.done)
		defer f.leave(key, fl)
		fl.value, fl.err = fly()
	})
	return fl, true, nil
}

// reserve returns the flight of a key, and where there is none a new one that the
// caller must settle.
func (f *flights) reserve(key string, tags []string, load *loading) (fl *flight, mine bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, false, ErrClosed
	}
	if fl := f.byKey[key]; fl != nil && fl.carries(tags) {
		return fl, false, nil
	}
	fl = &flight{done: make(chan struct{}), load: load, tags: tags}
	f.byKey[key] = fl
	return fl, true, nil
}

// settle ends a reserved flight.
func (f *flights) settle(key string, fl *flight) {
	f.leave(key, fl)
	close(fl.done)
}

// start runs fn in a goroutine that wait waits for.
func (f *flights) start(fn func()) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return ErrClosed
	}
	f.wg.Go(fn)
	return nil
}

// leave ends a flight that was not forgotten.
func (f *flights) leave(key string, fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byKey[key] == fl {
		delete(f.byKey, key)
	}
}

// forget makes callers that come from now on start flights of their own, for
// what was invalidated.
func (f *flights) forget(i *Invalidation) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.byKey) == 0 {
		return
	}
	for _, key := range i.Keys {
		delete(f.byKey, key)
	}
	if len(i.Patterns) == 0 && len(i.Tags) == 0 && !i.AllTags {
		return
	}
	globs := newGlobs(i.Patterns)
	for key, fl := range f.byKey {
		if matchesAny(globs, key) || fl.touches(i) {
			delete(f.byKey, key)
		}
	}
}

// filled notes whether a fill of the key was stored or voided.
func (f *flights) filled(key string, stored bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if stored {
		delete(f.voided, key)
		return
	}
	v := f.voided[key]
	if v == nil {
		for other := range f.voided {
			if len(f.voided) < maxVoided {
				break
			}
			delete(f.voided, other)
		}
		v = &voidedKey{}
		f.voided[key] = v
	}
	v.count++
	v.last = time.Now()
}

// impatient reports whether it is not worth to wait for others that load the
// key.
func (f *flights) impatient(key string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := f.voided[key]
	if v == nil {
		return false
	}
	if time.Since(v.last) > impatience {
		delete(f.voided, key)
		return false
	}
	return v.count >= patience
}

// wait waits for the flights to end and permits no more.
func (f *flights) wait() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.wg.Wait()
}

// loaderPanicError is a loader's panic on its way to the callers.
type loaderPanicError struct {
	value any
	stack []byte
}

// Error returns the panic's value and the stack it happened on.
func (p *loaderPanicError) Error() string { return fmt.Sprintf("%v\n\n%s", p.value, p.stack) }

// Unwrap returns the panic's value if that is an error.
func (p *loaderPanicError) Unwrap() error {
	err, _ := p.value.(error)
	return err
}

var errGoexit = errors.New("cache: the loader ended its goroutine")

// call calls a loader and turns a panic into an error.
func call[T any](ctx context.Context, load func(context.Context) (T, error)) (value T, err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		if r := recover(); r != nil {
			err = &loaderPanicError{value: r, stack: debug.Stack()}
		} else {
			err = errGoexit
		}
	}()
	value, err = load(ctx)
	returned = true
	return value, err
}
