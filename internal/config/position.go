package config

import (
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
)

// spot is a place in the file: line and column in characters, from 1.
type spot struct{ line, column int }

// scalar is a value of the file that is neither a list nor a mapping.
type scalar struct {
	node ast.Node
	raw  string // as YAML reads it, variables not replaced
	from spot   // its first character, or quotation mark
	expansion
}

// scalarOf returns a scalar, or false for lists and mappings. The node is
// without anchors, aliases and tags.
func scalarOf(n ast.Node) (s scalar, ok bool) {
	s.node = n
	start := n.GetToken()
	switch n := n.(type) {
	case *ast.StringNode:
		s.raw = n.Value
	case *ast.LiteralNode:
		s.raw, start = n.Value.Value, n.Start
	case *ast.NullNode, *ast.MappingNode, *ast.MappingValueNode, *ast.SequenceNode:
		return s, false
	default:
		if start == nil {
			return s, false
		}
		s.raw = start.Value
	}
	s.from = spot{start.Position.Line, start.Position.Column}
	s.expansion = expansion{text: s.raw}
	return s, true
}

// cursor walks over the source of a scalar.
type cursor struct {
	lines        [][]rune
	line, column int // from 0
}

func (c *cursor) rune() rune {
	if c.line >= len(c.lines) {
		return utf8.RuneError
	}
	if c.column >= len(c.lines[c.line]) {
		return '\n'
	}
	return c.lines[c.line][c.column]
}

func (c *cursor) next() {
	if c.line < len(c.lines) && c.column < len(c.lines[c.line]) {
		c.column++
		return
	}
	c.line, c.column = c.line+1, 0
}

func (c *cursor) spot() spot { return spot{c.line + 1, c.column + 1} }

func blank(r rune) bool { return r == ' ' || r == '\n' || r == '\t' }

// trace finds the place of every byte of s.raw in the source, and the place
// behind the last, by reading both side by side. It returns nil when they do
// not fit together (then only the scalar's beginning is known).
func (s *scalar) trace(lines [][]rune) []spot {
	c := cursor{lines, s.from.line - 1, s.from.column - 1}
	quote := rune(0)
	switch n := s.node.(type) {
	case *ast.LiteralNode:
		c.line, c.column = c.line+1, 0
	case *ast.StringNode:
		if first := strings.TrimLeft(n.Token.Origin, " \t\r\n"); first != "" && (first[0] == '"' || first[0] == '\'') && c.rune() == rune(first[0]) {
			quote = rune(first[0])
			c.next()
		}
	}
	spots := make([]spot, 0, len(s.raw)+1)
	put := func(r rune, at spot) {
		for range utf8.RuneLen(r) {
			spots = append(spots, at)
		}
	}
	for _, r := range s.raw {
		if r == utf8.RuneError {
			return nil
		}
		if quote == '"' && c.rune() == '\\' {
			at := c.spot()
			skipEscape(&c)
			put(r, at)
			continue
		}
		for !blank(r) && blank(c.rune()) && c.line < len(lines) {
			c.next() // indentation, or a line that was folded away
		}
		switch {
		case c.rune() == r:
			put(r, c.spot())
			c.next()
			if quote == '\'' && r == '\'' {
				c.next()
			}
		case blank(r):
			put(r, c.spot())
			for blank(c.rune()) && c.line < len(lines) {
				c.next()
			}
		default:
			return nil
		}
	}
	return append(spots, c.spot())
}

// skipEscape passes over one escape of a double-quoted scalar.
func skipEscape(c *cursor) {
	c.next()
	extra := map[rune]int{'x': 2, 'u': 4, 'U': 8}[c.rune()]
	for range extra + 1 {
		c.next()
	}
}
