package rule

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"time"
)

// A filter changes a value on its way into a template. An error means that
// the value cannot be rendered: the placeholder is widened.
type filter struct {
	name, arg string
	apply     func(string) (string, error)
}

var (
	errNotTime = errors.New("not a timestamp or date")

	filterNames = []string{"lower", "upper", "trim", "urlencode", "sha1", "sha256", "date"}
)

// newFilter returns the named filter, or a message and a remedy.
func newFilter(name, arg string, hasArg bool) (f filter, message, remedy string) {
	plain := func(apply func(string) string) {
		f.apply = func(v string) (string, error) { return apply(v), nil }
	}
	f = filter{name: name, arg: arg}
	switch name {
	case "lower":
		plain(strings.ToLower)
	case "upper":
		plain(strings.ToUpper)
	case "trim":
		plain(strings.TrimSpace)
	case "urlencode":
		plain(urlencode)
	case "sha1":
		plain(func(v string) string {
			sum := sha1.Sum([]byte(v)) //nolint:gosec // names a cache key as the application does
			return hex.EncodeToString(sum[:])
		})
	case "sha256":
		plain(func(v string) string {
			sum := sha256.Sum256([]byte(v))
			return hex.EncodeToString(sum[:])
		})
	case "date":
		if !isLayout(arg) {
			return f, "filter date needs a Go layout", "for example date:2006-01-02"
		}
		f.apply = func(v string) (string, error) {
			t, err := parseTime(v)
			if err != nil {
				return "", err
			}
			return t.Format(arg), nil
		}
		return f, "", ""
	case "":
		return f, "a filter's name is missing", "valid: " + strings.Join(filterNames, ", ")
	default:
		return f, "unknown filter " + quoteText(name), didYouMean(name, filterNames)
	}
	if hasArg {
		return f, "filter " + name + " takes no argument", ""
	}
	return f, "", ""
}

// isLayout reports whether a Go layout has at least one element, by what it
// makes of two moments that differ in everything.
func isLayout(layout string) bool {
	a := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	b := time.Date(2019, 11, 26, 17, 48, 59, 0, time.UTC)
	return a.Format(layout) != b.Format(layout)
}

// parseTime reads what a timestamp or date column is published as, and
// Postgres' own ISO form. Infinity, years before 1 and beyond 9999 are errors.
func parseTime(v string) (time.Time, error) {
	if len(v) < len("2006-01-02") || v[4] != '-' {
		return time.Time{}, errNotTime
	}
	if len(v) == len("2006-01-02") {
		t, err := time.Parse(time.DateOnly, v)
		if err != nil {
			return t, errNotTime
		}
		return t, nil
	}
	for _, layout := range []string{
		time.RFC3339Nano, "2006-01-02T15:04:05",
		"2006-01-02 15:04:05Z07", "2006-01-02 15:04:05Z07:00", time.DateTime, // fractions are read without being asked for
	} {
		if t, err := time.Parse(layout, v); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, errNotTime
}

const upperHex = "0123456789ABCDEF"

// urlencode percent-encodes all but RFC 3986's unreserved characters.
func urlencode(v string) string {
	plain := func(c byte) bool {
		return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			c == '-' || c == '.' || c == '_' || c == '~'
	}
	var b strings.Builder
	for i := range len(v) {
		if c := v[i]; plain(c) {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(upperHex[c>>4])
			b.WriteByte(upperHex[c&15])
		}
	}
	return b.String()
}
