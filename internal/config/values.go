package config

import (
	"errors"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/freshet-dev/freshet/internal/rule"
)

var errValue = errors.New("not a value of this kind")

// text reads any scalar as text. check may say what is wrong with it.
func (d *decoder) text(name string, to *string, check func(string) (want, remedy string)) field {
	return field{name: name, shape: shape{kind: kindText, fallback: *to}, decode: func(path string, n ast.Node) {
		s, ok := d.scalar(path, n, "text")
		if !ok {
			return
		}
		if check != nil {
			if want, remedy := check(s.text); want != "" {
				d.badValue(s, path, want, remedy)
				return
			}
		}
		*to = s.text
	}}
}

// texts reads a list of texts.
func (d *decoder) texts(name string, to *[]string) field {
	return field{name: name, shape: shape{kind: kindTexts}, decode: func(path string, n ast.Node) {
		d.list(path, n, func(_ int, path string, n ast.Node) {
			text := ""
			d.text("", &text, nil).decode(path, n)
			*to = append(*to, text) // also after a mistake, so that later paths stay right
		})
	}}
}

// word reads one of a few words.
func (d *decoder) word(name string, to *string, valid ...string) field {
	return d.text(name, to, func(text string) (want, remedy string) {
		if slices.Contains(valid, text) {
			return "", ""
		}
		if near := rule.Nearest(text, valid); near != "" {
			remedy = "did you mean " + strconv.Quote(near) + "?"
		}
		return strings.Join(valid, " or "), remedy
	}).of(valid...)
}

// parsed reads a scalar by a function, and checks its range.
func parsed[T any](d *decoder, name string, to *T, k kind, want string, parse func(string) (T, error)) field {
	return field{name: name, shape: shape{kind: k, fallback: written(k, *to)}, decode: func(path string, n ast.Node) {
		s, ok := d.scalar(path, n, want)
		if !ok {
			return
		}
		value, err := parse(strings.TrimSpace(s.text))
		if err != nil {
			d.badValue(s, path, want, "")
			return
		}
		*to = value
	}}
}

func (d *decoder) boolean(name string, to *bool) field {
	return parsed(d, name, to, kindBoolean, "true or false", func(text string) (bool, error) {
		switch text {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
		return false, errValue
	})
}

// integer reads a whole number from 1 up.
func (d *decoder) integer(name string, to *int, most int) field {
	want := "a whole number from 1 to " + strconv.Itoa(most)
	f := parsed(d, name, to, kindInteger, want, func(text string) (int, error) {
		n, err := parseInteger(text)
		if err != nil || n < 1 || n > int64(most) {
			return 0, errValue
		}
		return int(n), nil
	})
	f.shape.most = most
	return f
}

func (d *decoder) count(name string, to *int64) field {
	return parsed(d, name, to, kindCount, "a whole number of at least 0", func(text string) (int64, error) {
		n, err := parseInteger(text)
		if err != nil || n < 0 {
			return 0, errValue
		}
		return n, nil
	})
}

// parseInteger reads a decimal number, with underscores if need be.
func parseInteger(text string) (int64, error) {
	return strconv.ParseInt(strings.ReplaceAll(text, "_", ""), 10, 64)
}

// duration reads a positive duration.
func (d *decoder) duration(name string, to *time.Duration) field {
	return parsed(d, name, to, kindDuration, "a duration above zero such as 10s, 5m or 24h", func(text string) (time.Duration, error) {
		duration, err := parseDuration(text)
		if err != nil || duration <= 0 {
			return 0, errValue
		}
		return duration, nil
	})
}

// parseDuration reads Go's durations, and whole days such as 7d.
func parseDuration(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseInt(days, 10, 64)
		if err != nil || n > 36500 || n < -36500 {
			return 0, errValue
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	return time.ParseDuration(text)
}

var size = regexp.MustCompile(`^([0-9][0-9_]*)(\.[0-9]+)? ?([kKMGT]i?)?B?$`)

// size reads a number of bytes: 8GiB, 500MB, 4096.
func (d *decoder) size(name string, to *int64) field {
	return parsed(d, name, to, kindSize, "a size above zero such as 8GiB, 500MB or 1048576", parseSize)
}

func parseSize(text string) (int64, error) {
	m := size.FindStringSubmatch(text)
	if m == nil {
		return 0, errValue
	}
	number, err := strconv.ParseFloat(strings.ReplaceAll(m[1], "_", "")+m[2], 64)
	if err != nil {
		return 0, errValue
	}
	unit := 1.0
	if prefix := m[3]; prefix != "" {
		base := 1000.0
		if strings.HasSuffix(prefix, "i") {
			base = 1024
		}
		unit = math.Pow(base, float64(strings.Index("KMGT", strings.ToUpper(prefix[:1]))+1))
	}
	bytes := number * unit
	if bytes < 1 || bytes >= math.MaxInt64 || bytes != math.Trunc(bytes) {
		return 0, errValue
	}
	return int64(bytes), nil
}

// share reads a part of a whole: 20% or 0.2.
func (d *decoder) share(name string, to *float64) field {
	return parsed(d, name, to, kindShare, "a share above 0% and up to 100%, such as 20%", func(text string) (float64, error) {
		number, percent := strings.CutSuffix(text, "%")
		share, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if percent {
			share /= 100
		}
		if err != nil || !(share > 0 && share <= 1) {
			return 0, errValue
		}
		return share, nil
	})
}

// rate reads a number a second: 20000/s.
func (d *decoder) rate(name string, to *int) field {
	return parsed(d, name, to, kindRate, "a rate of at least 1/s, such as 20000/s", func(text string) (int, error) {
		number, perSecond := strings.CutSuffix(text, "/s")
		n, err := parseInteger(strings.TrimSpace(number))
		if err != nil || !perSecond || n < 1 || n > math.MaxInt32 {
			return 0, errValue
		}
		return int(n), nil
	})
}
