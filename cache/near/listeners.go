package near

import (
	"slices"
	"sync"

	"github.com/freshet-dev/freshet/cache"
)

// listeners are told what is heard from elsewhere.
type listeners struct {
	mu  sync.Mutex
	all []*func(cache.Invalidation) // replaced and never changed; guarded by mu
}

func (l *listeners) add(heard func(cache.Invalidation)) (remove func()) {
	mine := &heard
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(slices.Clip(l.all), mine)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.all = slices.DeleteFunc(slices.Clone(l.all), func(f *func(cache.Invalidation)) bool { return f == mine })
	}
}

// tell calls all listeners, without the lock: they may add and remove.
func (l *listeners) tell(i cache.Invalidation) {
	l.mu.Lock()
	all := l.all
	l.mu.Unlock()
	for _, heard := range all {
		(*heard)(i)
	}
}
