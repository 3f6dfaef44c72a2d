package cache

import "time"

// Near is a layer of entries kept in this process, in front of the store.
// Package near has the one to use: it hears what the invalidator and the other
// instances of the library invalidate. Keys, patterns and tags are as they are
// in the store, with the prefix. A Near must be safe for concurrent use.
type Near interface {
	// Get returns the value kept under a key. It reports false where there is
	// none, and for every key while the layer cannot know that it heard of all
	// invalidations. Callers must not change the value.
	Get(key string) (value any, ok bool)
	// Mark is called before the store is read; Put takes it. It reports false
	// while nothing may be kept.
	Mark() (mark uint64, ok bool)
	// Put keeps an entry, unless its key or one of its tags was invalidated
	// since the mark, or some invalidation may have been missed since.
	Put(key string, e NearEntry, mark uint64)
	// Invalidated is called when this process has changed the store: the layer
	// forgets what it keeps of that and tells the other processes.
	Invalidated(i Invalidation)
	// Listen makes the layer call heard for every invalidation that it hears of
	// from elsewhere; one that names the pattern "*" stands for what was missed.
	// heard must not block. It returns a function that ends that.
	Listen(heard func(Invalidation)) (stop func())
}

// NearEntry is what a near layer keeps of one key.
type NearEntry struct {
	// Value is what Get gives back.
	Value any
	// Tags are the tags whose invalidation makes the entry void.
	Tags []string
	// TTL is how long the entry may be kept at most; always positive.
	TTL time.Duration
	// Size is about how many bytes the value takes.
	Size int
}

// Invalidation names what was invalidated at one time.
type Invalidation struct {
	Keys     []string // exact keys
	Patterns []string // Redis globs
	Tags     []string // tags
	AllTags  bool     // every tag
}
