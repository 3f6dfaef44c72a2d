package cache

// MatchPattern reports whether a pattern names a key, by the rules that Redis
// has for KEYS and SCAN.
func MatchPattern(pattern, key string) bool { return newGlob(pattern).match(key) }
