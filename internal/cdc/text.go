package cdc

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"
	"unsafe"
)

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// plain returns how many leading bytes of s can stand in a JSON string as they
// are: printable ASCII but quote and backslash. Eight bytes are looked at
// together: a byte has its high bit set in the sum of the terms if it is below
// space, a quote, a backslash, or not ASCII. A borrow can only mark a byte too
// many, and the marked word is looked at byte by byte.
func plain(s []byte) int {
	i := 0
	for ; i+8 <= len(s); i += 8 {
		w := binary.LittleEndian.Uint64(s[i:])
		if (w|(w-0x20*ones)|((w^'"'*ones)-ones)|((w^'\\'*ones)-ones))&highs != 0 {
			break
		}
	}
	for ; i < len(s); i++ {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			break
		}
	}
	return i
}

// appendText appends s as a JSON string. It reports false, with dst in an
// undefined state beyond its length, if s is not valid UTF-8 or holds a NUL,
// which no value of Postgres' does.
func appendText(dst, s []byte) ([]byte, bool) {
	dst = append(dst, '"')
	for {
		n := plain(s)
		dst = append(dst, s[:n]...)
		if n == len(s) {
			return append(dst, '"'), true
		}
		s = s[n:]
		if c := s[0]; c < utf8.RuneSelf {
			if c == 0 {
				return dst, false
			}
			dst = appendEscape(dst, c)
			s = s[1:]
			continue
		}
		// A run of other scripts is copied at once.
		n = 0
		for n < len(s) && s[n] >= utf8.RuneSelf {
			r, size := utf8.DecodeRune(s[n:])
			if r == utf8.RuneError && size == 1 {
				return dst, false
			}
			n += size
		}
		dst = append(dst, s[:n]...)
		s = s[n:]
	}
}

func appendEscape(dst []byte, c byte) []byte {
	const digits = "0123456789abcdef"
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
}

// appendString appends any string as a JSON string; bytes that are not valid
// UTF-8 become U+FFFD.
func appendString(dst []byte, s string) []byte {
	n := len(dst)
	if dst, ok := appendText(dst, bytesOf(s)); ok {
		return dst
	}
	dst = append(dst[:n], '"')
	for i, part := range strings.Split(strings.ToValidUTF8(s, "\uFFFD"), "\x00") {
		if i > 0 {
			dst = append(dst, `\u0000`...)
		}
		inner := len(dst)
		dst, _ = appendText(dst, bytesOf(part))
		// Take the quotes off again.
		copy(dst[inner:], dst[inner+1:len(dst)-1])
		dst = dst[:len(dst)-2]
	}
	return append(dst, '"')
}

// bytesOf views a string as bytes, without a copy. They must not be written.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// stringOf views bytes as a string, without a copy. They must not be written
// for as long as the string is used.
func stringOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
