package verify

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/big"
	"strings"
	"time"
)

// equal reports whether two texts are the same JSON value. The order of an
// object's members does not count, numbers count by value, and two strings that
// are both RFC 3339 times by the moment they name: programs and Postgres write the
// same moment differently. Without a row (nil) nothing is equal.
func equal(cached, row []byte) bool {
	if row == nil {
		return false
	}
	if bytes.Equal(cached, row) {
		return true
	}
	a, okA := parse(cached)
	b, okB := parse(row)
	return okA && okB && same(a, b)
}

func parse(text []byte) (value any, ok bool) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if decoder.Decode(&value) != nil {
		return nil, false
	}
	_, err := decoder.Token()
	return value, err == io.EOF
}

func same(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for name, value := range a {
			other, ok := b[name]
			if !ok || !same(value, other) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !same(a[i], b[i]) {
				return false
			}
		}
		return true
	case json.Number:
		b, ok := b.(json.Number)
		return ok && sameNumber(string(a), string(b))
	case string:
		b, ok := b.(string)
		return ok && (a == b || sameTime(a, b))
	default:
		return a == b
	}
}

// longestNumber bounds what is computed with: an exponent can name a number that
// fills the memory. Beyond it, numbers are equal only as they are written.
const longestNumber = 400

func sameNumber(a, b string) bool {
	if a == b {
		return true
	}
	x, okX := number(a)
	y, okY := number(b)
	return okX && okY && x.Cmp(y) == 0
}

func number(text string) (*big.Rat, bool) {
	if _, exponent, _ := strings.Cut(strings.ToLower(text), "e"); len(text) > longestNumber || len(strings.TrimLeft(exponent, "+-0")) > 3 {
		return nil, false
	}
	return new(big.Rat).SetString(text)
}

func sameTime(a, b string) bool {
	x, errX := time.Parse(time.RFC3339Nano, a)
	y, errY := time.Parse(time.RFC3339Nano, b)
	return errX == nil && errY == nil && x.Equal(y)
}

// digest names a value without showing it. JSON is digested as this package would
// write it, so that equal members in another order have one digest.
func digest(value []byte) string {
	if value == nil {
		return "no row"
	}
	if parsed, ok := parse(value); ok {
		if canonical, err := json.Marshal(parsed); err == nil {
			value = canonical
		}
	}
	sum := sha256.Sum256(value)
	return hex.EncodeToString(sum[:6])
}
