package config

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// openSections hold no secrets: their lines are shown as they are. In all
// other sections, and in keys that do not exist, values are blotted out.
var openSections = []string{"name", "http", "invalidator", "warmer", "rules"}

// document is a parsed file that knows where every value stands.
type document struct {
	file    string
	lines   [][]rune
	root    ast.Node // nil for an empty file
	anchors map[string]ast.Node
	scalars map[string]*scalar
	secrets map[ast.Node]bool // values that are shown to nobody, also not when they are wrong
	spots   map[string]spot   // of every value, and of the key where the value has none
	closed  []*scalar         // values not to be shown
}

func parse(file string, data []byte) (*document, *Error) {
	text := strings.TrimPrefix(string(data), "\ufeff")
	text = strings.ReplaceAll(text, "\r\n", "\n")
	d := &document{
		file: file, anchors: map[string]ast.Node{}, scalars: map[string]*scalar{}, secrets: map[ast.Node]bool{}, spots: map[string]spot{},
	}
	for line := range strings.SplitSeq(text, "\n") {
		d.lines = append(d.lines, []rune(line))
	}
	if !utf8.ValidString(text) {
		return nil, &Error{File: file, Message: "the file is not UTF-8 text"}
	}
	parsed, err := parser.ParseBytes([]byte(text), 0)
	if err != nil {
		return nil, d.syntaxError(err)
	}
	docs := 0
	for _, doc := range parsed.Docs {
		if doc.Body == nil {
			continue
		}
		if docs++; docs > 1 {
			position := doc.Body.GetToken().Position
			return nil, &Error{File: file, Line: position.Line, Column: position.Column, Message: "a second YAML document; one file is one configuration"}
		}
		d.root = doc.Body
	}
	if d.root != nil {
		d.collect(d.root)
		d.close()
	}
	return d, nil
}

// syntaxError keeps the parser's message and place, and leaves out its extract
// of the file, which might show a secret.
func (d *document) syntaxError(err error) *Error {
	var syntax yaml.Error
	if !errors.As(err, &syntax) {
		return &Error{File: d.file, Message: "not valid YAML"}
	}
	e := &Error{File: d.file, Message: "not valid YAML: " + syntax.GetMessage(), width: 1}
	if token := syntax.GetToken(); token != nil {
		e.Line, e.Column = max(token.Position.Line, 1), max(token.Position.Column, 1)
		if d.openAt(e.Line) && e.Line <= len(d.lines) {
			e.source = string(d.lines[e.Line-1])
		}
	}
	return e
}

// openAt reports whether a line stands in a section without secrets, judged
// by the last key in the first column.
func (d *document) openAt(line int) bool {
	for i := min(line, len(d.lines)) - 1; i >= 0; i-- {
		text := string(d.lines[i])
		if text == "" || strings.ContainsAny(text[:1], " \t#-]}") {
			continue
		}
		for _, section := range openSections {
			if strings.HasPrefix(text, section+":") {
				return true
			}
		}
		return false
	}
	return false
}

// collect finds the anchors.
func (d *document) collect(n ast.Node) {
	ast.Walk(visitor(func(n ast.Node) {
		if anchor, ok := n.(*ast.AnchorNode); ok && anchor.Name != nil {
			d.anchors[anchor.Name.GetToken().Value] = anchor.Value
		}
	}), n)
}

type visitor func(ast.Node)

func (v visitor) Visit(n ast.Node) ast.Visitor {
	v(n)
	return v
}

// close finds the values that are not to be shown.
func (d *document) close() {
	for _, pair := range pairs(d.root) {
		open := false
		for _, section := range openSections {
			open = open || pair.Key.GetToken().Value == section
		}
		if !open && pair.Value != nil {
			d.closeAll(pair.Value, 1)
		}
	}
}

// groups are the mappings inside sections. Any other mapping there is one by
// mistake, such as a password in braces: its keys are not shown either.
var groups = []string{"tls", "embedded", "stream"}

func (d *document) closeAll(n ast.Node, depth int) {
	switch n := n.(type) {
	case *ast.AnchorNode:
		d.closeAll(n.Value, depth)
	case *ast.TagNode:
		d.closeAll(n.Value, depth)
	case *ast.SequenceNode:
		for _, value := range n.Values {
			d.closeAll(value, depth+1)
		}
	case *ast.MappingNode, *ast.MappingValueNode:
		for _, pair := range pairs(n) {
			if depth > 1 {
				d.closeAll(pair.Key, depth)
			}
			below := depth + 1
			if depth == 1 && slices.Contains(groups, pair.Key.GetToken().Value) {
				below = 1
			}
			d.closeAll(pair.Value, below)
		}
	case nil:
	default:
		if s, ok := scalarOf(n); ok {
			d.closed = append(d.closed, &s)
		}
	}
}

// pairs returns a mapping's keys and values; nil for anything else.
func pairs(n ast.Node) []*ast.MappingValueNode {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}
	}
	return nil
}

// plain follows anchors, aliases and tags to the value itself.
func (d *document) plain(n ast.Node) ast.Node {
	for range 100 { // an alias can name itself
		switch inner := n.(type) {
		case *ast.AnchorNode:
			n = inner.Value
		case *ast.TagNode:
			n = inner.Value
		case *ast.AliasNode:
			n = d.anchors[inner.Value.GetToken().Value]
		default:
			return n
		}
	}
	return nil
}

// spotOf returns where a node begins.
func spotOf(n ast.Node) spot {
	switch n := n.(type) {
	case *ast.MappingValueNode:
		return spotOf(n.Key)
	case *ast.MappingNode:
		if len(n.Values) > 0 && !n.IsFlowStyle {
			return spotOf(n.Values[0])
		}
	case *ast.LiteralNode:
		return spot{n.Start.Position.Line, n.Start.Position.Column}
	}
	token := n.GetToken()
	return spot{token.Position.Line, max(1, token.Position.Column)}
}

// errorAt makes an error about a place, with its line.
func (d *document) errorAt(at spot, width int, path, message, remedy string) *Error {
	e := &Error{File: d.file, Line: at.line, Column: at.column, Path: path, Message: message, Remedy: remedy, width: width}
	if at.line >= 1 && at.line <= len(d.lines) {
		e.source = d.shown(at.line, path)
	}
	return e
}

// errorIn makes an error about length bytes of a scalar's text from offset;
// zero length stands for all of it.
func (d *document) errorIn(s *scalar, offset, length int, path, message, remedy string) *Error {
	spots := s.trace(d.lines)
	if spots == nil {
		return d.errorAt(s.from, 1, path, message, remedy)
	}
	whole := length == 0
	begin := min(s.origin(offset), len(spots)-1)
	end := len(spots) - 1
	if !whole {
		end = min(max(s.origin(offset+length-1)+1, begin), end)
	}
	from, to := spots[begin], spots[end]
	if whole && offset == 0 && from.line == s.from.line {
		from = s.from // with the quotation mark
	}
	width := to.column - from.column
	if to.line != from.line {
		width = len(d.lines[from.line-1]) - from.column + 1
	}
	return d.errorAt(from, width, path, message, remedy)
}

// shown returns a line with the values that may be secret blotted out, except
// the one at path.
func (d *document) shown(line int, path string) string {
	text := append([]rune(nil), d.lines[line-1]...)
	for _, s := range d.closed {
		if own := d.scalars[path]; own != nil && own.node == s.node && !d.secrets[s.node] {
			continue
		}
		d.blot(text, line, s)
	}
	if len(d.closed) > 0 && !d.openAt(line) {
		// A comment may hold what was commented out.
		if visible, _, has := strings.Cut(string(text), " #"); has {
			return strings.TrimRight(visible, " ")
		}
	}
	return string(text)
}

func (d *document) blot(text []rune, line int, s *scalar) {
	spots := s.trace(d.lines)
	if spots == nil {
		// Where it ends is not known: blot out all from its beginning on.
		for i := range text {
			if line > s.from.line || line == s.from.line && i >= s.from.column-1 {
				text[i] = '*'
			}
		}
		return
	}
	for _, at := range spots[:len(spots)-1] {
		if at.line == line && at.column <= len(text) && text[at.column-1] != ' ' {
			text[at.column-1] = '*'
		}
	}
}
