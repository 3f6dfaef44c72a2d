package cdc

import (
	"encoding/binary"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds nesting. It is that of encoding/json, so that whatever is
// published can be read by Go programs.
const maxDepth = 10_000

// scanner walks a JSON document. Its methods report false after the first
// error, which err keeps. The document must be valid UTF-8.
type scanner struct {
	data  []byte
	pos   int
	depth int
	err   error
}

func (s *scanner) fail(want string) bool {
	if s.err != nil {
		return false
	}
	have := "the end"
	if s.pos < len(s.data) {
		r, _ := utf8.DecodeRune(s.data[s.pos:])
		have = fmt.Sprintf("%q", r)
	}
	s.err = fmt.Errorf("byte %d: want %s, have %s", s.pos, want, have)
	return false
}

// peek skips white space and returns the next byte, 0 at the end.
func (s *scanner) peek() byte {
	for s.pos < len(s.data) {
		c := s.data[s.pos]
		if c > ' ' || c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return c
		}
		s.pos++
	}
	return 0
}

// take consumes c if it comes next.
func (s *scanner) take(c byte) bool {
	if s.peek() != c || s.pos == len(s.data) {
		return false
	}
	s.pos++
	return true
}

func (s *scanner) enter() bool {
	if s.depth++; s.depth > maxDepth {
		return s.fail(fmt.Sprintf("at most %d levels", maxDepth))
	}
	return true
}

// object calls field for each name, with the scanner before the value, which
// field must consume. A null is an object without fields.
func (s *scanner) object(what string, field func(name []byte) bool) bool {
	if s.null() {
		return true
	}
	if !s.take('{') {
		return s.fail(what)
	}
	if !s.enter() {
		return false
	}
	if !s.take('}') {
		for {
			name, ok := s.string("a name")
			if !ok {
				return false
			}
			if !s.take(':') {
				return s.fail("a colon")
			}
			if !field(name) {
				return false
			}
			if s.take(',') {
				continue
			}
			if s.take('}') {
				break
			}
			return s.fail("a comma or the end of an object")
		}
	}
	s.depth--
	return true
}

// array calls element for each element, which it must consume. A null is an
// array without elements.
func (s *scanner) array(what string, element func() bool) bool {
	if s.null() {
		return true
	}
	if !s.take('[') {
		return s.fail(what)
	}
	if !s.enter() {
		return false
	}
	if !s.take(']') {
		for {
			if !element() {
				return false
			}
			if s.take(',') {
				continue
			}
			if s.take(']') {
				break
			}
			return s.fail("a comma or the end of an array")
		}
	}
	s.depth--
	return true
}

// literal consumes the word if it comes next.
func (s *scanner) literal(word string) bool {
	if s.peek() != word[0] || len(s.data)-s.pos < len(word) || string(s.data[s.pos:s.pos+len(word)]) != word {
		return false
	}
	s.pos += len(word)
	return true
}

func (s *scanner) null() bool { return s.literal("null") }

// number consumes a number and returns its literal.
func (s *scanner) number(what string) ([]byte, bool) {
	if c := s.peek(); c != '-' && !isDigit(c) {
		return nil, s.fail(what)
	}
	end := numberEnd(s.data, s.pos)
	if end < 0 {
		return nil, s.fail("a number")
	}
	literal := s.data[s.pos:end]
	s.pos = end
	return literal, true
}

// numberEnd returns where the number that begins at pos ends, -1 if there is
// none.
func numberEnd(data []byte, pos int) int {
	digits := func() bool {
		start := pos
		for pos < len(data) && isDigit(data[pos]) {
			pos++
		}
		return pos > start
	}
	if pos < len(data) && data[pos] == '-' {
		pos++
	}
	if pos < len(data) && data[pos] == '0' {
		pos++
	} else if !digits() {
		return -1
	}
	if pos < len(data) && data[pos] == '.' {
		if pos++; !digits() {
			return -1
		}
	}
	if pos < len(data) && data[pos]|0x20 == 'e' {
		if pos++; pos < len(data) && (data[pos] == '+' || data[pos] == '-') {
			pos++
		}
		if !digits() {
			return -1
		}
	}
	return pos
}

// string consumes a string and returns its text: part of the document where
// nothing is escaped, else a copy.
func (s *scanner) string(what string) ([]byte, bool) {
	escaped, start, ok := s.skipString(what)
	if !ok {
		return nil, false
	}
	text := s.data[start : s.pos-1]
	if escaped {
		text = unescape(text)
	}
	return text, true
}

// skipString consumes a string. It reports whether it holds escapes, and where
// its text begins; the text ends a byte before the position.
func (s *scanner) skipString(what string) (escaped bool, start int, ok bool) {
	if !s.take('"') {
		return false, 0, s.fail(what)
	}
	start = s.pos
	data, pos := s.data, s.pos
	for {
		// The terms of plain, without the one for other scripts: a byte whose
		// own high bit is set is masked out.
		for pos+8 <= len(data) {
			w := binary.LittleEndian.Uint64(data[pos:])
			if ((w-0x20*ones)|((w^'"'*ones)-ones)|((w^'\\'*ones)-ones))&^w&highs != 0 {
				break
			}
			pos += 8
		}
		for pos < len(data) && data[pos] >= ' ' && data[pos] != '"' && data[pos] != '\\' {
			pos++
		}
		s.pos = pos
		if pos == len(data) || data[pos] < ' ' {
			return false, 0, s.fail("the rest of a string")
		}
		if data[pos] == '"' {
			s.pos++
			return escaped, start, true
		}
		escaped = true
		if pos++; pos == len(data) {
			s.pos = pos
			return false, 0, s.fail("the rest of an escape")
		}
		switch data[pos] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			pos++
		case 'u':
			if len(data)-pos < 5 || hex4(data[pos+1:]) < 0 {
				s.pos = pos
				return false, 0, s.fail("an escape with four hexadecimal digits")
			}
			pos += 5
		default:
			s.pos = pos
			return false, 0, s.fail("an escape")
		}
	}
}

// hex4 reads four hexadecimal digits, -1 if there are none.
func hex4(b []byte) rune {
	var r rune
	for _, c := range b[:4] {
		switch {
		case isDigit(c):
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// unescape resolves the escapes of a string that skipString has checked. Half
// a surrogate pair becomes U+FFFD, as in encoding/json.
func unescape(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); {
		c := text[i]
		if c != '\\' {
			out = append(out, c)
			i++
			continue
		}
		c = text[i+1]
		i += 2
		switch c {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r := hex4(text[i:])
			i += 4
			if utf16.IsSurrogate(r) {
				pair := rune(utf8.RuneError)
				if len(text)-i >= 6 && text[i] == '\\' && text[i+1] == 'u' {
					pair = utf16.DecodeRune(r, hex4(text[i+2:]))
				}
				if r = pair; r != utf8.RuneError {
					i += 6
				}
			}
			out = utf8.AppendRune(out, r)
		default:
			out = append(out, c)
		}
	}
	return out
}

// skip consumes a value of any kind.
func (s *scanner) skip() bool {
	switch c := s.peek(); c {
	case '{':
		return s.object("an object", func([]byte) bool { return s.skip() })
	case '[':
		return s.array("an array", s.skip)
	case '"':
		_, _, ok := s.skipString("a string")
		return ok
	case 't', 'f', 'n':
		if !s.literal("true") && !s.literal("false") && !s.literal("null") {
			return s.fail("a value")
		}
		return true
	default:
		_, ok := s.number("a value")
		return ok
	}
}

// end reports whether nothing but white space is left.
func (s *scanner) end() bool {
	if s.peek(); s.pos != len(s.data) {
		return s.fail("the end")
	}
	return true
}

// validJSON reports whether text is a JSON document that can be embedded in a
// change message.
func validJSON(text []byte) bool {
	if !utf8.Valid(text) {
		return false
	}
	s := scanner{data: text, depth: embedded}
	return s.skip() && s.end()
}

// embedded is the depth of a column's value in a message: message, changes,
// change, row.
const embedded = 4
