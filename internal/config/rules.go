package config

import (
	"errors"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/freshet-dev/freshet/internal/rule"
)

// rules decodes the list of rules.
func (d *decoder) rules(name string, to *[]rule.Config) field { return sections(d, name, to, d.rule) }

func (d *decoder) rule(r *rule.Config) []field {
	return []field{
		d.text("table", &r.Table, nil).needed(),
		d.text("name", &r.Name, nil),
		d.texts("ops", &r.Ops).of("insert", "update", "delete", "truncate"),
		d.texts("changed", &r.Changed),
		d.text("lookup", &r.Lookup, nil),
		d.texts("invalidate", &r.Invalidate),
		d.texts("tags", &r.Tags),
		d.texts("immutable", &r.Immutable),
		d.text("old", &r.Old, nil).of(rule.OldRequire, rule.OldWiden),
		d.text("publish", &r.Publish, nil).of(rule.PublishAll),
		d.count("bulk", &r.Bulk),
		sections(d, "warm", &r.Warm, d.warm),
	}
}

func (d *decoder) warm(w *rule.Warm) []field {
	return []field{
		d.text("key", &w.Key, nil).needed(),
		d.text("sql", &w.SQL, nil).needed(),
		d.duration("ttl", &w.TTL).needed(),
		d.text("only", &w.Only, nil).of(rule.OnlyCached, rule.OnlyAlways),
		d.text("missing", &w.Missing, nil).of(rule.MissingRemove, rule.MissingAbsent),
	}
}

// sections is a key whose value is a list of mappings.
func sections[T any](d *decoder, name string, to *[]T, fields func(*T) []field) field {
	var none T
	return field{name: name, shape: shape{kind: kindSections, fields: fields(&none)}, decode: func(path string, n ast.Node) {
		d.list(path, n, func(i int, path string, n ast.Node) {
			// Also after a mistake, so that later paths stay right.
			for len(*to) <= i {
				*to = append(*to, none)
			}
			d.mapping(path, n, fields(&(*to)[i])...)
		})
	}}
}

// ruleSyntax adds the mistakes in the rules that show without a schema, so
// that all of a file's mistakes are reported together. What follows from a
// mistake that is reported already is left out.
func (d *decoder) ruleSyntax(rules []rule.Config) {
	var mistakes rule.Errors
	if _, err := rule.Compile(rules, nil); !errors.As(err, &mistakes) {
		return
	}
	known := d.errs
	for _, e := range d.locate(mistakes) {
		if !slices.ContainsFunc(known, func(k *Error) bool {
			return within(e.Path, k.Path) || within(k.Path, e.Path)
		}) {
			d.fail(e)
		}
	}
}

// within reports whether a path names a value or a part of it.
func within(path, value string) bool {
	rest, ok := strings.CutPrefix(path, value)
	return ok && value != "" && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// locate turns the mistakes of rules into errors that point into the file.
func (d *document) locate(mistakes []*rule.Error) Errors {
	errs := make(Errors, 0, len(mistakes))
	for _, m := range mistakes {
		var e *Error
		if s := d.scalars[m.Path]; s != nil {
			e = d.errorIn(s, m.Offset, m.Length, m.Path, m.Message, m.Remedy)
		} else if at, ok := d.nearestSpot(m.Path); ok {
			e = d.errorAt(at, 1, m.Path, m.Message, m.Remedy)
		} else {
			e = &Error{File: d.file, Path: m.Path, Message: m.Message, Remedy: m.Remedy}
		}
		e.SQL = m.SQL
		errs = append(errs, e)
	}
	errs.sort()
	return errs
}

// nearestSpot finds a value that is there, or else what would hold it.
func (d *document) nearestSpot(path string) (spot, bool) {
	for path != "" {
		if at, ok := d.spots[path]; ok {
			return at, true
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return spot{}, false
}
