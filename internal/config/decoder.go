package config

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/freshet-dev/freshet/internal/rule"
)

// decoder reads a document into a File and collects every mistake.
type decoder struct {
	*document
	env  Env
	errs Errors
}

// field is one key of a mapping.
type field struct {
	name   string
	decode func(path string, n ast.Node)
	shape  shape
}

func (d *decoder) fail(e *Error) { d.errs = append(d.errs, e) }

// failAt reports a mistake of a node as a whole.
func (d *decoder) failAt(n ast.Node, path, message, remedy string) {
	d.fail(d.errorAt(spotOf(n), 1, path, message, remedy))
}

// mapping decodes a mapping whose keys are fields. A null is an empty mapping.
func (d *decoder) mapping(path string, n ast.Node, fields ...field) {
	n = d.plain(n)
	if _, null := n.(*ast.NullNode); null || n == nil {
		return
	}
	all := pairs(n)
	if _, empty := n.(*ast.MappingNode); all == nil && !empty {
		d.wrongType(path, n, "keys with values")
		return
	}
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	seen := map[string]bool{}
	for _, pair := range all {
		key := pair.Key.GetToken().Value
		keyPath := join(path, key)
		width := len([]rune(key))
		var found *field
		for i := range fields {
			if fields[i].name == key {
				found = &fields[i]
			}
		}
		switch {
		case pair.Key.Type() == ast.MergeKeyType:
			d.fail(d.errorAt(spotOf(pair.Key), 2, path, "merge keys are not supported", "write the keys out"))
		case found == nil:
			remedy := "valid: " + strings.Join(names, ", ")
			if near := rule.Nearest(key, names); near != "" {
				remedy = fmt.Sprintf("did you mean %q?", near)
			}
			d.fail(d.errorAt(spotOf(pair.Key), width, keyPath, fmt.Sprintf("unknown key %q", key), remedy))
		case seen[key]:
			d.fail(d.errorAt(spotOf(pair.Key), width, keyPath, "the key stands here twice", ""))
		default:
			seen[key] = true
			d.spots[keyPath] = spotOf(pair.Key)
			if value := d.plain(pair.Value); value != nil {
				if _, null := value.(*ast.NullNode); !null {
					d.spots[keyPath] = spotOf(value)
					found.decode(keyPath, value)
				}
			}
		}
	}
}

// list decodes a list, calling each for every element.
func (d *decoder) list(path string, n ast.Node, each func(i int, path string, n ast.Node)) {
	sequence, ok := n.(*ast.SequenceNode)
	if !ok {
		d.wrongType(path, n, "a list")
		return
	}
	for i, value := range sequence.Values {
		elementPath := fmt.Sprintf("%s[%d]", path, i)
		value = d.plain(value)
		if _, null := value.(*ast.NullNode); value == nil || null {
			at := spotOf(sequence)
			if value != nil && value.GetToken().Position.Line > 0 {
				at = spotOf(value)
			}
			d.fail(d.errorAt(at, 1, elementPath, "an empty element", "remove it"))
			continue
		}
		d.spots[elementPath] = spotOf(value)
		each(i, elementPath, value)
	}
}

// scalar reads a scalar and replaces its variables; false after a mistake.
func (d *decoder) scalar(path string, n ast.Node, want string) (*scalar, bool) {
	s, ok := scalarOf(n)
	if !ok {
		d.wrongType(path, n, want)
		return nil, false
	}
	d.scalars[path] = &s
	sound := true
	raw := s
	s.expansion = expand(s.raw, d.env, func(offset, length int, message, remedy string) {
		sound = false
		d.fail(d.errorIn(&raw, offset, length, path, message, remedy))
	})
	return &s, sound
}

// wrongType reports a value of another shape than wanted.
func (d *decoder) wrongType(path string, n ast.Node, want string) {
	got, remedy := "a single value", ""
	switch n := n.(type) {
	case *ast.SequenceNode:
		got = "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		got = "keys with values"
		if flow, ok := n.(*ast.MappingNode); ok && flow.IsFlowStyle && want == "text" {
			remedy = "quote a text that begins with a brace"
		}
	default:
		if s, ok := scalarOf(n); ok && want == "a list" && strings.HasPrefix(path, "rules[") {
			remedy = "write [" + s.raw + "]"
		}
	}
	d.failAt(n, path, "want "+want+", got "+got, remedy)
}

// badValue reports a scalar that cannot be read. What it says is quoted as it
// is written: a variable's value may be a secret.
func (d *decoder) badValue(s *scalar, path, want, remedy string) {
	d.fail(d.errorIn(s, 0, 0, path, fmt.Sprintf("want %s, got %s", want, quoted(s.raw)), remedy))
}

func quoted(text string) string {
	if runes := []rune(text); len(runes) > 60 {
		text = string(runes[:59]) + "…"
	}
	return fmt.Sprintf("%q", text)
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
