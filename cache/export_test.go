package cache

// What the external tests need of the inside.

// SlotOf returns a key's Redis Cluster slot.
func SlotOf(key string) uint16 { return slotOf(key) }

// SlotTag returns the short tag of a slot.
func SlotTag(slot uint16) string { return slotTag(slot) }

// LeasedKey returns the key of a lease key.
func LeasedKey(lease string) (string, bool) { return leasedKey(lease) }

// MatchGlob matches as a sweep does.
func MatchGlob(pattern, key string) bool { return newGlob(pattern).match(key) }

// SweepVariant builds an applier configuration whose sweeps behave otherwise.
type SweepVariant struct {
	BetweenPasses func()
	OnePass       bool
	ValuesFirst   bool
	Count         int64
}

// Vary returns cfg with the variant.
func (v SweepVariant) Vary(cfg ApplierConfig) ApplierConfig {
	cfg.hooks = sweepHooks{betweenPasses: v.BetweenPasses, onePass: v.OnePass, valuesFirst: v.ValuesFirst, count: v.Count}
	return cfg
}

// WithConfig returns another cache over the same store.
func (c *Cache) WithConfig(cfg Config) *Cache {
	cfg.setDefaults()
	return newCache(c.store, cfg)
}

// Prefix returns the configured prefix.
func (c *Cache) Prefix() string { return c.cfg.Prefix }
