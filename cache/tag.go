package cache

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"
)

// newGeneration returns a generation that no tag has had.
func newGeneration() string { return rand.Text()[:16] }

// tagNames returns the names of generations: that of all tags, then the tags',
// with the prefix.
func (c *Cache) tagNames(tags []string) []string {
	names := make([]string, 1, len(tags)+1)
	names[0] = c.cfg.Prefix
	for _, tag := range tags {
		if name := c.cfg.Prefix + tag; !slices.Contains(names[1:], name) {
			names = append(names, name)
		}
	}
	return names
}

// withPrefix returns the tags as generations are named.
func (c *Cache) withPrefix(tags []string) []string {
	if len(tags) == 0 {
		return nil
	}
	return c.tagNames(tags)[1:]
}

func checkTags(tags []string) error {
	if slices.Contains(tags, "") {
		return fmt.Errorf("%w: a tag is empty", ErrKey)
	}
	return nil
}

// tagTTL is how long a generation lasts at least that an entry is stored with:
// the entry's own time and that of its loading.
func (c *Cache) tagTTL(ttl time.Duration) time.Duration { return ttl + 2*c.cfg.LoadTimeout }

// carries reports whether an entry was stored with all of the tags.
func (m *entryMeta) carries(names []string) bool {
	if len(names) == 0 {
		return true
	}
	if !m.tagged {
		return false
	}
	for _, name := range names[1:] { // the first stands for all tags
		if !m.has(name) {
			return false
		}
	}
	return true
}

func (m *entryMeta) has(name string) bool {
	return slices.ContainsFunc(m.tags, func(g generation) bool { return g.tag == name })
}

// byName returns the generations by their tags.
func (m *entryMeta) byName() map[string]string {
	gens := make(map[string]string, len(m.tags))
	for _, g := range m.tags {
		gens[g.tag] = g.gen
	}
	return gens
}

// unknown returns the names whose generations are needed to judge an entry and
// are not among those that have been read.
func (m *entryMeta) unknown(prefix string, names []string) []string {
	if !m.tagged {
		return nil
	}
	var missing []string
	if len(names) == 0 {
		missing = append(missing, prefix)
	}
	for _, g := range m.tags {
		if len(names) == 0 || !slices.Contains(names[1:], g.tag) {
			missing = append(missing, g.tag)
		}
	}
	return missing
}

// current reports whether the generations are those that the entry was stored
// with. names and gens are in pairs.
func (m *entryMeta) current(prefix string, names, gens []string) bool {
	if !m.tagged {
		return true
	}
	// The name that stands for all tags is the prefix alone, which no tag is.
	same := func(name, gen string) bool {
		i := slices.Index(names, name)
		return i >= 0 && gen != "" && gens[i] == gen
	}
	if !same(prefix, m.epoch) {
		return false
	}
	for _, g := range m.tags {
		if !same(g.tag, g.gen) {
			return false
		}
	}
	return true
}

// withTags puts captured generations into an entry's header.
func (m *entryMeta) withTags(names, gens []string) {
	if len(names) == 0 {
		return
	}
	m.tagged, m.epoch = true, gens[0]
	for i, name := range names[1:] {
		m.tags = append(m.tags, generation{tag: name, gen: gens[i+1]})
	}
}

// InvalidateTags invalidates every entry that was stored with one of the tags,
// however many there are, in one round trip. Entries that are being loaded with
// one of them are void when they are stored. On an error some tags may not be
// invalidated: call it again.
func (c *Cache) InvalidateTags(ctx context.Context, tags ...string) error {
	if c.closed.Load() {
		return ErrClosed
	}
	if err := checkTags(tags); err != nil {
		return fmt.Errorf("invalidate tags: %w", err)
	}
	if len(tags) == 0 {
		return nil
	}
	names := c.tagNames(tags)[1:]
	ctx, end := c.observeKeys(ctx, OpInvalidateTags, tags)
	err := c.store.dropTags(ctx, names)
	c.changed(Invalidation{Tags: names})
	err = c.failedAll("invalidate tags", tags, err)
	end("", err)
	return err
}

// invalidateAllTags makes every entry with tags void.
func (c *Cache) invalidateAllTags(ctx context.Context) error {
	err := c.store.dropTags(ctx, []string{c.cfg.Prefix})
	c.changed(Invalidation{AllTags: true})
	return err
}

// Tag adds tags to the entry that is being loaded, inside a loader that learns
// from what it loads which tags it needs. It captures them when it is called: call
// it before the database is asked for what the tag stands for. An error means
// that what is loaded will not be stored. Outside a loader it does nothing.
func Tag(ctx context.Context, tags ...string) error {
	load := loadOf(ctx)
	if load == nil || len(tags) == 0 {
		return nil
	}
	return load.tag(ctx, tags)
}

// captureTimeout bounds what a loader waits for the store.
const captureTimeout = 2 * time.Second
