package ratelimit

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
)

// longest is how many bytes of an identifier or endpoint go into a key as they
// are.
const longest = 128

// subject is whom and what limits are about. What is too long for a key is
// replaced by its hash, so that a stranger's header does not fill the memory.
type subject struct {
	identifier, endpoint string
	hashed               hashed
}

type hashed struct{ identifier, endpoint bool }

func newSubject(identifier, endpoint string) subject {
	s := subject{identifier: identifier, endpoint: endpoint}
	s.identifier, s.hashed.identifier = shorten(identifier)
	s.endpoint, s.hashed.endpoint = shorten(endpoint)
	return s
}

func shorten(s string) (string, bool) {
	if len(s) <= longest {
		return s, false
	}
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:]), true
}

// Key returns the Redis key, without a prefix, of what an identifier has taken
// of an endpoint: ratelimit:{identifier}:{endpoint} with both put in.
//
// Different pairs have different keys, and no key has braces: "%", "{" and "}"
// become %25, %7B and %7D in both, ":" becomes %3A in the endpoint, so that the
// last colon is where it begins. What is longer than 128 bytes is
// %sha256-<hexadecimal> instead.
func Key(identifier, endpoint string) string { return newSubject(identifier, endpoint).key("") }

func (s subject) key(prefix string) string {
	return string(s.appendKey(nil, prefix))
}

// appendKey appends the key. The prefix is escaped already.
func (s subject) appendKey(b []byte, prefix string) []byte {
	b = append(append(b, prefix...), "ratelimit:"...)
	b = appendPart(b, s.identifier, s.hashed.identifier, "%{}")
	b = append(b, ':')
	return appendPart(b, s.endpoint, s.hashed.endpoint, "%{}:")
}

// appendPart appends s with some characters escaped.
func appendPart(b []byte, s string, hashed bool, special string) []byte {
	if hashed {
		return append(append(b, "%sha256-"...), s...)
	}
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		if c := s[i]; strings.IndexByte(special, c) >= 0 {
			b = append(b, '%', digits[c>>4], digits[c&15])
		} else {
			b = append(b, c)
		}
	}
	return b
}

// escapePrefix takes the braces out of a prefix: logs are put into the slot of
// their key by braces around it.
func escapePrefix(prefix string) string { return string(appendPart(nil, prefix, false, "{}")) }

// letter stands for an algorithm in fields and in the script's arguments.
func (a Algorithm) letter() byte { return "sfg"[a] }

// appendField appends the name of a limit's field in the hash: letter, window in
// microseconds, name.
func (l Limit) appendField(b []byte) []byte {
	b = append(b, l.Algorithm.letter(), ':')
	b = strconv.AppendInt(b, l.window(), 10)
	if l.Name != "" {
		b = append(append(b, ':'), l.Name...)
	}
	return b
}

// fieldLength is the length of what appendField appends.
func (l Limit) fieldLength() int {
	digits := 1
	for n := l.window(); n > 9; n /= 10 {
		digits++
	}
	if l.Name != "" {
		digits += 1 + len(l.Name)
	}
	return 2 + digits
}
