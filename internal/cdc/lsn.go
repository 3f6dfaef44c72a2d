package cdc

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// LSN is a position in Postgres' write-ahead log, in bytes. Zero means none.
type LSN uint64

// String returns the LSN in Postgres' notation, such as "0/1A2B3C8".
func (l LSN) String() string {
	var buf [17]byte
	text, _ := l.AppendText(buf[:0])
	return string(text)
}

// AppendText appends Postgres' notation. It never fails.
func (l LSN) AppendText(dst []byte) ([]byte, error) {
	dst = appendHex(dst, uint32(l>>32))
	dst = append(dst, '/')
	return appendHex(dst, uint32(l)), nil
}

func appendHex(dst []byte, v uint32) []byte {
	const digits = "0123456789ABCDEF"
	for shift := max(bits.Len32(v)-1, 0) &^ 3; shift >= 0; shift -= 4 {
		dst = append(dst, digits[v>>shift&15])
	}
	return dst
}

// ParseLSN reads Postgres' notation, such as "0/1A2B3C8".
func ParseLSN(s string) (LSN, error) {
	high, low, ok := strings.Cut(s, "/")
	if !ok {
		return 0, fmt.Errorf("lsn %q: want two hexadecimal numbers with a slash between them", s)
	}
	h, err := strconv.ParseUint(high, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("lsn %q: %w", s, err)
	}
	l, err := strconv.ParseUint(low, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("lsn %q: %w", s, err)
	}
	return LSN(h<<32 | l), nil
}

// MarshalText writes Postgres' notation.
func (l LSN) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads Postgres' notation.
func (l *LSN) UnmarshalText(text []byte) error {
	parsed, err := ParseLSN(string(text))
	if err != nil {
		return err
	}
	*l = parsed
	return nil
}
