package httpcache

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// directives are those of a Cache-Control header that matter here. A directive
// with an argument that names fields, as private="set-cookie", counts like the
// one without: that is the stricter reading.
type directives struct {
	noStore, noCache, private, public, onlyIfCached bool

	maxAge, sMaxAge       time.Duration
	hasMaxAge, hasSMaxAge bool
}

func parseCacheControl(h http.Header) directives {
	var d directives
	for _, line := range h["Cache-Control"] {
		for rest := line; rest != ""; {
			var name, argument string
			name, argument, rest = nextDirective(rest)
			d.set(strings.ToLower(name), argument)
		}
	}
	return d
}

func (d *directives) set(name, argument string) {
	switch name {
	case "no-store":
		d.noStore = true
	case "no-cache":
		d.noCache = true
	case "private":
		d.private = true
	case "public":
		d.public = true
	case "only-if-cached":
		d.onlyIfCached = true
	case "max-age":
		d.maxAge, d.hasMaxAge = least(d.maxAge, d.hasMaxAge, argument), true
	case "s-maxage":
		d.sMaxAge, d.hasSMaxAge = least(d.sMaxAge, d.hasSMaxAge, argument), true
	}
}

// least returns the lesser of what a directive said before and says now. What is
// no number of seconds counts as none left.
func least(before time.Duration, has bool, argument string) time.Duration {
	now := seconds(argument)
	if has {
		return min(before, now)
	}
	return now
}

// seconds returns 0 for what is no number.
func seconds(text string) time.Duration {
	const most = 1 << 31 // RFC 9111 §1.2.2: what is larger counts as this
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		if len(text) > 10 && strings.Trim(text, "0123456789") == "" {
			n = most
		}
	}
	return time.Duration(min(n, most)) * time.Second
}

// nextDirective takes the first directive off a list. Arguments may be quoted,
// and hold commas then.
func nextDirective(list string) (name, argument, rest string) {
	end := strings.IndexAny(list, ",=")
	if end < 0 {
		return strings.TrimSpace(list), "", ""
	}
	name = strings.TrimSpace(list[:end])
	if list[end] == ',' {
		return name, "", list[end+1:]
	}
	rest = strings.TrimLeft(list[end+1:], " \t")
	if !strings.HasPrefix(rest, `"`) {
		argument, rest, _ = strings.Cut(rest, ",")
		return name, strings.TrimSpace(argument), rest
	}
	var b strings.Builder
	i := 1
	for ; i < len(rest) && rest[i] != '"'; i++ {
		if rest[i] == '\\' && i+1 < len(rest) {
			i++
		}
		b.WriteByte(rest[i])
	}
	_, rest, _ = strings.Cut(rest[min(i+1, len(rest)):], ",")
	return name, b.String(), rest
}

// tokens lists the elements of a comma-separated header.
func tokens(lines []string) []string {
	var all []string
	for _, line := range lines {
		for part := range strings.SplitSeq(line, ",") {
			if part = strings.TrimSpace(part); part != "" {
				all = append(all, part)
			}
		}
	}
	return all
}
