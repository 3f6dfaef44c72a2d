package config

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

const (
	referenceFile = "../../docs/configuration.md"
	schemaFile    = "../../docs/freshet.schema.json"
)

// walk calls visit for every key that the decoder knows.
func walk(path string, fields []field, visit func(path string, s *shape)) {
	for i := range fields {
		p := join(path, fields[i].name)
		visit(p, &fields[i].shape)
		if fields[i].shape.kind == kindSections {
			p += "[]"
		}
		walk(p, fields[i].shape.fields, visit)
	}
}

func allKeys() []field { return (&decoder{document: &document{}}).keys(defaults()) }

// Every key is described, and nothing else is.
func TestMeanings(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	walk("", allKeys(), func(path string, s *shape) {
		known[path] = true
		if meanings[path] == "" {
			t.Errorf("%s is not described: add it to meanings", path)
		}
		if s.kind == "" {
			t.Errorf("%s has no kind", path)
		}
	})
	for path := range meanings {
		if !known[path] {
			t.Errorf("%s is described and there is no such key", path)
		}
	}
}

// The reference and the schema are what the decoder says.
func TestReference(t *testing.T) {
	t.Parallel()
	schema, err := json.MarshalIndent(schemaOf(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{referenceFile: reference(), schemaFile: string(schema) + "\n"} {
		if flag.Lookup("update").Value.String() == "true" {
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != text {
			t.Errorf("%s is not what the decoder says (%v): run `make generate`", file, err)
		}
	}
}

const preface = "<!-- Generated from internal/config by `make generate`; do not edit. -->\n" + `
# Configuration

` + "`freshet.yaml`" + `, every key. [deploy/freshet.yaml](../deploy/freshet.yaml) is a whole one, with comments; [cookbook.md](cookbook.md) has rules to copy. Only ` + "`name`, `postgres.url`, `cache.url` and `rules`" + ` must be written.

The file is strict: an unknown key, a wrong type or a rule that cannot work is an error with line, column and the nearest valid word, and all of them are reported at once. A key with an empty value counts as left out. The commands take ` + "`-c FILE`" + ` (default ` + "`freshet.yaml`, or `$FRESHET_CONFIG`" + `). ` + "`freshet reload`" + ` or SIGHUP reads the file again.

**Editors** complete and check the file by [freshet.schema.json](freshet.schema.json), a JSON Schema (draft 2020-12). Those with yaml-language-server find it by this line, which ` + "`freshet init`" + ` writes:

` + "```yaml" + `
# yaml-language-server: $schema=` + SchemaURL + `
` + "```" + `

The schema knows shapes and words; templates, columns and ranges that need the database are for ` + "`freshet check`" + `.

**Variables.** ` + "`${VAR}` and `${VAR:-default}`" + ` are replaced in every value; an unset variable without a default is an error, and ` + "`$${`" + ` stands for ` + "`${`" + ` itself. **Secrets** may come from a file of their own: the keys that end in ` + "`_file`" + `. They never appear in logs, status or errors.

| takes | is written |
|---|---|
| duration | ` + "`250ms`, `10s`, `1m30s`, `24h`, `7d`" + `; above zero |
| size | ` + "`8GiB`, `500MB`, `1048576`" + `; above zero |
| rate | ` + "`200/s`" + `; at least 1/s |
| share | ` + "`20%` or `0.2`" + `; above zero, at most 100% |
| number | whole; ` + "`1_000_000`" + ` is 1000000 |
`

// reference writes docs/configuration.md.
func reference() string {
	var b strings.Builder
	b.WriteString(preface)
	table(&b, "", allKeys())
	return b.String()
}

// table writes the keys of a section that are no sections themselves, and then
// those sections.
func table(b *strings.Builder, path string, fields []field) {
	rows := 0
	for _, f := range fields {
		if f.shape.fields != nil {
			continue
		}
		if rows++; rows == 1 {
			b.WriteString("\n| key | takes | default | means |\n|---|---|---|---|\n")
		}
		p := join(path, f.name)
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", f.name, takes(&f.shape), fallback(&f.shape), strings.ReplaceAll(meanings[p], "|", `\|`))
	}
	for _, f := range fields {
		if f.shape.fields == nil {
			continue
		}
		p := join(path, f.name)
		heading := p
		if f.shape.kind == kindSections {
			heading, p = heading+"[]", p+"[]"
		}
		fmt.Fprintf(b, "\n## %s\n\n%s\n", heading, meanings[join(path, f.name)])
		table(b, p, f.shape.fields)
	}
}

func takes(s *shape) string {
	switch {
	case s.words != nil && s.kind == kindTexts:
		return "list of `" + strings.Join(s.words, "`, `") + "`"
	case s.words != nil:
		return "`" + strings.Join(s.words, "` or `") + "`"
	case s.most > 0:
		return fmt.Sprintf("number from 1 to %d", s.most)
	}
	return string(s.kind)
}

func fallback(s *shape) string {
	switch {
	case s.required:
		return "required"
	case s.fallback != "":
		return "`" + s.fallback + "`"
	}
	return "–"
}
