package cache

import "strings"

// glob is a pattern as Redis matches it.
type glob struct {
	pattern string
	literal string // what every match begins with
	exact   bool   // pattern has no special character
}

func newGlob(pattern string) glob {
	literal := pattern
	if i := strings.IndexAny(pattern, `*?[\`); i >= 0 {
		literal = pattern[:i]
	}
	return glob{pattern: pattern, literal: literal, exact: literal == pattern}
}

func newGlobs(patterns []string) []glob {
	globs := make([]glob, len(patterns))
	for i, pattern := range patterns {
		globs[i] = newGlob(pattern)
	}
	return globs
}

func (g glob) match(key string) bool {
	if !strings.HasPrefix(key, g.literal) {
		return false
	}
	if g.exact {
		return key == g.pattern
	}
	if g.pattern == "*" {
		return true
	}
	skip := false
	return matchGlob(g.pattern, key, &skip)
}

// matchesAny reports whether key matches one of the globs.
func matchesAny(globs []glob, key string) bool {
	for i := range globs {
		if globs[i].match(key) {
			return true
		}
	}
	return false
}

// matchGlob is Redis' stringmatchlen, quirks included: the server and this
// process must never disagree on what a pattern names. skipLonger is set once
// a star further right failed to match the whole rest, so that stars further
// left need not try longer matches.
func matchGlob(pattern, s string, skipLonger *bool) bool {
	for len(pattern) > 0 && len(s) > 0 {
		switch pattern[0] {
		case '*':
			for len(pattern) > 1 && pattern[1] == '*' {
				pattern = pattern[1:]
			}
			if len(pattern) == 1 {
				return true
			}
			for len(s) > 0 {
				if matchGlob(pattern[1:], s, skipLonger) {
					return true
				}
				if *skipLonger {
					return false
				}
				s = s[1:]
			}
			*skipLonger = true
			return false
		case '?':
			s = s[1:]
		case '[':
			var ok bool
			pattern, ok = matchClass(pattern, s[0])
			if !ok {
				return false
			}
			s = s[1:]
		default:
			if pattern[0] == '\\' && len(pattern) >= 2 {
				pattern = pattern[1:]
			}
			if pattern[0] != s[0] {
				return false
			}
			s = s[1:]
		}
		pattern = pattern[1:]
		if len(s) == 0 {
			for len(pattern) > 0 && pattern[0] == '*' {
				pattern = pattern[1:]
			}
			break
		}
	}
	return len(pattern) == 0 && len(s) == 0
}

// matchClass matches c against the class that pattern begins with, and returns
// the pattern from the class' last character on. As in Redis, a class that is
// not closed ends with the pattern.
func matchClass(pattern string, c byte) (rest string, ok bool) {
	pattern = pattern[1:]
	negated := len(pattern) > 0 && pattern[0] == '^'
	if negated {
		pattern = pattern[1:]
	}
	match := false
	for {
		switch {
		case len(pattern) == 0:
			// One step back, so that the caller's step forward ends at the end.
			return "\x00", match != negated
		case pattern[0] == '\\' && len(pattern) >= 2:
			pattern = pattern[1:]
			if pattern[0] == c {
				match = true
			}
		case pattern[0] == ']':
			return pattern, match != negated
		case len(pattern) >= 3 && pattern[1] == '-':
			// Redis compares the C type char, which is signed.
			low, high, c := int8(pattern[0]), int8(pattern[2]), int8(c)
			if low > high {
				low, high = high, low
			}
			pattern = pattern[2:]
			if c >= low && c <= high {
				match = true
			}
		default:
			if pattern[0] == c {
				match = true
			}
		}
		pattern = pattern[1:]
	}
}

// EscapePattern returns the pattern that matches exactly text.
func EscapePattern(text string) string {
	if !strings.ContainsAny(text, `*?[]\`) {
		return text
	}
	var b strings.Builder
	b.Grow(len(text) + 8)
	for i := range len(text) {
		if strings.IndexByte(`*?[]\`, text[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(text[i])
	}
	return b.String()
}
