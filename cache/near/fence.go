package near

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/freshet-dev/freshet/cache"
)

const (
	keyStripes = 1 << 12
	// tagStripes are more, as they are looked at for as long as an entry lives.
	tagStripes = 1 << 14
)

// fence numbers the invalidations and remembers, for each stripe of keys and of
// tags, the last that touched it. A fill that began before a number that touches
// it comes too late. Names that share a stripe cause misses and nothing worse.
type fence struct {
	seed maphash.Seed

	// last is the number of the last invalidation. It is written last, so that a
	// mark is never newer than what the stripes say.
	last atomic.Uint64
	// floor is the number of the last invalidation of everything, allTags of the
	// last of all tags.
	floor, allTags atomic.Uint64
	tags           [tagStripes]atomic.Uint64

	// mu is held for reading while a fill lands and for writing while a number is
	// given, so that a fill either sees the number or has landed before it.
	mu       sync.RWMutex
	keys     [keyStripes]uint64 // guarded by mu
	patterns uint64             // number of the last pattern; guarded by mu
}

// raise gives an invalidation its number. Entries that are there by then are
// the caller's to remove, by key and by pattern; tags work from here on.
func (f *fence) raise(i cache.Invalidation) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.last.Load() + 1
	for _, key := range i.Keys {
		f.keys[f.keyStripe(key)] = n
	}
	for _, tag := range i.Tags {
		f.tags[f.tagStripe(tag)].Store(n)
	}
	if i.AllTags {
		f.allTags.Store(n)
	}
	if len(i.Patterns) > 0 {
		f.patterns = n
	}
	f.last.Store(n)
}

// raiseAll makes void all that is there and all that is on its way.
func (f *fence) raiseAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.last.Load() + 1
	f.floor.Store(n)
	f.last.Store(n)
}

// land calls put unless the fill comes too late.
func (f *fence) land(key string, e *entry, put func()) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.keys[f.keyStripe(key)] > e.mark || f.patterns > e.mark || f.void(e) {
		return
	}
	put()
}

// void reports whether an entry was invalidated by one of its tags, or with
// everything.
func (f *fence) void(e *entry) bool {
	if f.floor.Load() > e.mark {
		return true
	}
	if len(e.tags) == 0 {
		return false
	}
	for _, stripe := range e.tags {
		if f.tags[stripe].Load() > e.mark {
			return true
		}
	}
	return f.allTags.Load() > e.mark
}

func (f *fence) keyStripe(key string) uint64 { return maphash.String(f.seed, key) % keyStripes }

func (f *fence) tagStripe(tag string) uint16 {
	return uint16(maphash.String(f.seed, tag) % tagStripes)
}
