package config

import (
	"errors"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/freshet-dev/freshet/internal/rule"
)

// rules decodes the list of rules.
func (d *decoder) rules(name string, to *[]rule.Config) field {
	return field{name, func(path string, n ast.Node) {
		d.list(path, n, func(i int, path string, n ast.Node) {
			// Also after a mistake, so that later paths stay right.
			for len(*to) <= i {
				*to = append(*to, rule.Config{})
			}
			r := &(*to)[i]
			d.mapping(path, n,
				d.text("table", &r.Table, nil),
				d.text("name", &r.Name, nil),
				d.texts("ops", &r.Ops),
				d.texts("changed", &r.Changed),
				d.text("lookup", &r.Lookup, nil),
				d.texts("invalidate", &r.Invalidate),
				d.texts("tags", &r.Tags),
				d.texts("immutable", &r.Immutable),
				d.text("old", &r.Old, nil),
				d.text("publish", &r.Publish, nil),
				d.count("bulk", &r.Bulk),
				d.warms("warm", &r.Warm),
			)
		})
	}}
}

func (d *decoder) warms(name string, to *[]rule.Warm) field {
	return field{name, func(path string, n ast.Node) {
		d.list(path, n, func(i int, path string, n ast.Node) {
			for len(*to) <= i {
				*to = append(*to, rule.Warm{})
			}
			w := &(*to)[i]
			d.mapping(path, n,
				d.text("key", &w.Key, nil),
				d.text("sql", &w.SQL, nil),
				d.duration("ttl", &w.TTL),
				d.text("only", &w.Only, nil),
				d.text("missing", &w.Missing, nil),
			)
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
