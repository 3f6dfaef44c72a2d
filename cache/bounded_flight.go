package cache

import (
	"context"
	"sync"
)

// boundedFlights are the loads of reads with a bound. Whoever asks with a bound
// may share only a load that begins after the call: not the one under way, but
// the one that follows it.
type boundedFlights struct {
	mu    sync.Mutex
	byKey map[string]*boundedFlight // the load under way; guarded by mu
}

type boundedFlight struct {
	flight
	fly  func() ([]byte, error)
	next *boundedFlight // begins when this one ends; nil: nobody has asked since
}

// join returns the first flight of a key that begins after the call.
func (f *boundedFlights) join(
	ctx context.Context, all *flights, key string, load *loading, fly func() ([]byte, error),
) (fl *boundedFlight, mine bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl = &boundedFlight{flight: flight{done: make(chan struct{}), err: errGoexit, load: load}, fly: fly}
	running := f.byKey[key]
	if running != nil {
		running.load.lend(ctx) // the one that follows waits for it
	}
	switch {
	case running == nil:
		if err := all.start(func() { f.run(all, key, fl) }); err != nil {
			return nil, false, err
		}
		if f.byKey == nil {
			f.byKey = map[string]*boundedFlight{}
		}
		f.byKey[key] = fl
	case running.next == nil:
		running.next = fl
	default:
		running.next.load.nest.require(&load.nest) // what its loader reads is for this caller too
		return running.next, false, nil
	}
	return fl, true, nil
}

// run flies one flight, and starts the next if anybody has asked for it.
func (f *boundedFlights) run(all *flights, key string, fl *boundedFlight) {
	defer func() { // also when the loader ends its goroutine
		close(fl.done)
		f.mu.Lock()
		defer f.mu.Unlock()
		next := fl.next
		if next == nil {
			delete(f.byKey, key)
			return
		}
		f.byKey[key] = next
		if err := all.start(func() { f.run(all, key, next) }); err != nil {
			delete(f.byKey, key)
			next.err = err
			close(next.done)
		}
	}()
	fl.value, fl.err = fl.fly()
}
