// Package rule compiles the rules of freshet.yaml and turns row changes into
// what they invalidate: keys, patterns, tags and warm tasks.
//
// A rule names a table and templates. A template is rendered from the new and
// from the old image of a changed row. Whatever cannot be rendered exactly is
// rendered more broadly (a placeholder becomes "*"), never left out.
//
// The package is pure: it reads no file, no server and no clock. Lookups are
// described by it and answered by its caller.
package rule
