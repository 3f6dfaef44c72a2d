package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// shape is what a key takes. The decoder states it where it decodes the key, so
// that the reference and the JSON Schema, which are made from it, cannot say
// something else.
type shape struct {
	kind     kind
	fallback string   // the default, as one would write it; empty for none
	words    []string // the only values, where there are few
	most     int      // of an integer
	required bool
	fields   []field // of a section, and of every element of a list of sections
}

// kind is a kind of value, in the words of the reference.
type kind string

const (
	kindText     kind = "text"
	kindSecret   kind = "text, secret"
	kindPath     kind = "path of a file"
	kindBoolean  kind = "true or false"
	kindInteger  kind = "number"
	kindCount    kind = "number from 0"
	kindDuration kind = "duration"
	kindSize     kind = "size"
	kindShare    kind = "share"
	kindRate     kind = "rate"
	kindTexts    kind = "list of texts"
	kindSection  kind = "keys"
	kindSections kind = "list"
)

// of says that only these words are taken. It does not check: rules do that.
func (f field) of(words ...string) field {
	f.shape.words = words
	return f
}

// needed says that the key may not be left out. It does not check.
func (f field) needed() field {
	f.shape.required = true
	return f
}

// written is a default as one would write it.
func written(k kind, value any) string {
	text := fmt.Sprint(value)
	switch v := value.(type) {
	case time.Duration:
		for _, zero := range []string{"m0s", "h0m"} {
			if strings.HasSuffix(text, zero) {
				text = text[:len(text)-2]
			}
		}
	case int64:
		if k == kindSize {
			text = writtenSize(v)
		}
	case float64:
		text = strconv.FormatFloat(v*100, 'f', -1, 64) + "%"
	case int:
		if k == kindRate {
			text += "/s"
		}
	}
	switch text {
	case "0", "0s", "0/s", "0%": // none of the kinds that have a default takes zero
		return ""
	}
	return text
}

func writtenSize(bytes int64) string {
	unit := 0
	for unit < 4 && bytes > 0 && bytes%1024 == 0 {
		bytes, unit = bytes/1024, unit+1
	}
	return strconv.FormatInt(bytes, 10) + []string{"", "KiB", "MiB", "GiB", "TiB"}[unit]
}
