// Package config reads freshet.yaml and turns it into the configurations of
// the parts.
//
// It is strict: an unknown key, a wrong type or a rule that cannot work is an
// error with file, line, column and the nearest valid word, and all of them
// are reported at once. Secrets never appear in an error: lines that hold one
// are shown with it blotted out.
package config

// SchemaURL is the JSON Schema of the file, by which editors check it.
const SchemaURL = "https://raw.githubusercontent.com/freshet-dev/freshet/main/docs/freshet.schema.json"
