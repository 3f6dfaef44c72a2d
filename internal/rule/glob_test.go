package rule_test

import "testing"

// globMatch is Redis' stringmatchlen, read from its documentation: the
// reference that targets are checked with.
func globMatch(pattern, text string) bool {
	for pattern != "" {
		switch pattern[0] {
		case '*':
			for i := 0; i <= len(text); i++ {
				if globMatch(pattern[1:], text[i:]) {
					return true
				}
			}
			return false
		case '?':
			if text == "" {
				return false
			}
			pattern, text = pattern[1:], text[1:]
		case '[':
			if text == "" {
				return false
			}
			matched, rest := classMatch(pattern[1:], text[0])
			if !matched {
				return false
			}
			pattern, text = rest, text[1:]
		case '\\':
			if len(pattern) > 1 {
				pattern = pattern[1:]
			}
			fallthrough
		default:
			if text == "" || text[0] != pattern[0] {
				return false
			}
			pattern, text = pattern[1:], text[1:]
		}
	}
	return text == ""
}

func classMatch(class string, c byte) (matched bool, rest string) {
	negated := class != "" && class[0] == '^'
	if negated {
		class = class[1:]
	}
	for class != "" && class[0] != ']' {
		switch {
		case class[0] == '\\' && len(class) > 1:
			matched = matched || class[1] == c
			class = class[2:]
		case len(class) > 2 && class[1] == '-':
			low, high := class[0], class[2]
			if low > high {
				low, high = high, low
			}
			matched = matched || low <= c && c <= high
			class = class[3:]
		default:
			matched = matched || class[0] == c
			class = class[1:]
		}
	}
	if class != "" {
		class = class[1:]
	}
	return matched != negated, class
}

func TestGlobMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"a*", "abc", true},
		{"a*c", "abc", true},
		{"a*d", "abc", false},
		{"a?c", "abc", true},
		{"a?", "a", false},
		{`a\*`, "a*", true},
		{`a\*`, "ab", false},
		{"[a-c]x", "bx", true},
		{"[^a-c]x", "bx", false},
		{`[\]]`, "]", true},
		{`a\`, `a\`, true},
	} {
		if got := globMatch(c.pattern, c.text); got != c.want {
			t.Errorf("globMatch(%q, %q): got %v, want %v", c.pattern, c.text, got, c.want)
		}
	}
}
