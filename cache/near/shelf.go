package near

import (
	"hash/maphash"
	"math"
	"slices"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/freshet-dev/freshet/cache"
)

// entry is what is kept of one key. It never changes.
type entry struct {
	value   any
	mark    uint64 // the fence's last number before the store was read
	expires int64  // by the monotonic clock
	tags    []uint16
	size    int
}

// overhead of an entry in bytes: the structs, and otter's share.
const entryOverhead = 256

// maxMatches is how often patterns are compared with keys for one invalidation.
// Where it would take more, which is some ten milliseconds, all entries go.
const maxMatches = 1 << 18

// shelf holds the entries and takes those away that are invalidated. Whether it
// may be asked at all is not its business.
//
// Expiry is here and not otter's: it would read a clock of its own in each Get.
type shelf struct {
	fence   fence
	entries *otter.Cache[string, *entry]
	ttl     time.Duration
}

func newShelf(maxBytes int64, ttl time.Duration) (*shelf, error) {
	entries, err := otter.New(&otter.Options[string, *entry]{
		MaximumWeight: uint64(maxBytes),
		Weigher: func(key string, e *entry) uint32 {
			return uint32(min(uint64(len(key))+uint64(e.size)+entryOverhead, math.MaxUint32))
		},
	})
	if err != nil {
		return nil, err
	}
	s := &shelf{entries: entries, ttl: ttl}
	s.fence.seed = maphash.MakeSeed()
	return s, nil
}

// alive reports whether an entry may still be used.
func (s *shelf) alive(e *entry, mono int64) bool { return mono < e.expires && !s.fence.void(e) }

func (s *shelf) put(key string, e cache.NearEntry, mark uint64, mono int64) {
	kept := &entry{
		value: e.Value, mark: mark, size: max(e.Size, 0),
		expires: mono + int64(min(s.ttl, e.TTL)),
	}
	if len(e.Tags) > 0 {
		kept.tags = make([]uint16, len(e.Tags))
		for i, tag := range e.Tags {
			kept.tags[i] = s.fence.tagStripe(tag)
		}
	}
	s.fence.land(key, kept, func() { s.entries.Set(key, kept) })
}

// remove forgets what an invalidation names, and voids the fills of it that are
// on their way.
func (s *shelf) remove(i cache.Invalidation) {
	if slices.Contains(i.Patterns, "*") || len(i.Patterns)*s.entries.EstimatedSize() > maxMatches {
		s.clear()
		return
	}
	// The number comes first: an entry that lands behind our back has seen it.
	s.fence.raise(i)
	for _, key := range i.Keys {
		s.entries.Invalidate(key)
	}
	if len(i.Patterns) == 0 {
		return
	}
	for key := range s.entries.Keys() {
		if slices.ContainsFunc(i.Patterns, func(pattern string) bool { return cache.MatchPattern(pattern, key) }) {
			s.entries.Invalidate(key)
		}
	}
}

// clear forgets everything.
func (s *shelf) clear() {
	s.fence.raiseAll()
	s.entries.InvalidateAll()
}

// sweep drops what nobody can get any more.
func (s *shelf) sweep(mono int64) {
	for key, e := range s.entries.All() {
		if !s.alive(e, mono) {
			s.entries.Invalidate(key)
		}
	}
}
