package config

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/freshet-dev/freshet/internal/doctest"
)

// object is a JSON object.
type object map[string]any

// A value with a variable in it is judged once the variable is replaced.
const variablePattern = `\$\{`

func schemaOf() object {
	s := schemaOfSection(allKeys())
	s["type"] = "object"
	s["$schema"], s["$id"] = "https://json-schema.org/draft/2020-12/schema", SchemaURL
	s["title"] = "freshet.yaml"
	describe(s, "", allKeys())
	return s
}

// describe adds the meanings, which need the paths.
func describe(s object, path string, fields []field) {
	properties := s["properties"].(object)
	for _, f := range fields {
		p, own := join(path, f.name), properties[f.name].(object)
		own["description"] = strings.ReplaceAll(meanings[p], "`", "")
		switch f.shape.kind {
		case kindSection:
			describe(own, p, f.shape.fields)
		case kindSections:
			describe(own["items"].(object), p+"[]", f.shape.fields)
		}
	}
}

func schemaOfSection(fields []field) object {
	properties, required := object{}, []string{}
	for _, f := range fields {
		properties[f.name] = schemaOfValue(&f.shape)
		if f.shape.required {
			required = append(required, f.name)
		}
	}
	s := object{"type": []string{"object", "null"}, "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

// schemaOfValue allows what the decoder does: also no value, which is the
// default, and numbers and words as text, as scalars are read by their text.
func schemaOfValue(s *shape) object {
	var value object
	switch s.kind {
	case kindSection:
		return schemaOfSection(s.fields)
	case kindSections:
		item := schemaOfSection(s.fields)
		item["type"] = "object"
		value = object{"type": []string{"array", "null"}, "items": item}
	case kindTexts:
		value = object{"type": []string{"array", "null"}, "items": textOf(s.words)}
	case kindBoolean:
		value = either(nil, `true|false`)
		value["anyOf"] = append([]any{object{"type": []string{"boolean", "null"}}}, value["anyOf"].([]any)...)
	case kindInteger:
		value = either(object{"type": []string{"integer", "null"}, "minimum": 1, "maximum": s.most}, `[0-9_]+`)
	case kindCount:
		value = either(object{"type": []string{"integer", "null"}, "minimum": 0, "maximum": math.MaxInt64}, `[0-9_]+`)
	case kindSize:
		value = either(object{"type": []string{"integer", "null"}, "minimum": 1}, strings.Trim(size.String(), "^$"))
	case kindShare:
		value = either(object{"type": []string{"number", "null"}, "exclusiveMinimum": 0, "maximum": 1}, `[0-9.]+ ?%?`)
	case kindRate:
		value = either(object{"type": "null"}, `[0-9][0-9_]* ?/s`)
	case kindDuration:
		value = either(object{"type": "null"}, `[0-9]+d|\+?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+`)
	default:
		value = textOf(s.words)
		value["type"] = append(value["type"].([]string), "null")
	}
	if s.fallback != "" {
		value["default"] = s.fallback
	}
	if s.required && s.kind == kindSections {
		value["type"], value["minItems"] = "array", 1
	}
	return value
}

// textOf is any scalar, or one of a few words.
func textOf(words []string) object {
	if words == nil {
		return object{"type": []string{"string", "number", "boolean"}}
	}
	return object{"type": []string{"string"}, "pattern": "^(" + strings.Join(words, "|") + ")$|" + variablePattern}
}

// either is a value of its own type, or text that is read as one.
func either(own object, pattern string) object {
	text := object{"type": "string", "pattern": "^ *(" + pattern + ") *$|" + variablePattern}
	if own == nil {
		return object{"anyOf": []any{text}}
	}
	return object{"anyOf": []any{own, text}}
}

// judge is the schema as committed.
func judge(t *testing.T) func(text string) error {
	t.Helper()
	file, err := os.Open(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	parsed, err := jsonschema.UnmarshalJSON(file)
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(nil) // it must say its draft itself
	if err := compiler.AddResource(SchemaURL, parsed); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile(SchemaURL)
	if err != nil {
		t.Fatal(err)
	}
	return func(text string) error {
		data, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			return err
		}
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(string(data)))
		if err != nil {
			return err
		}
		return schema.Validate(value)
	}
}

// What the repository ships, and what init drafts, is as the schema says.
func TestSchemaTakesFiles(t *testing.T) {
	t.Parallel()
	valid := judge(t)
	files := []string{"../../deploy/freshet.yaml"}
	for _, pattern := range []string{"../../examples/*/freshet.yaml", "../scaffold/testdata/*.yaml"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) < 3 {
			t.Fatalf("%s: %v, %v", pattern, found, err)
		}
		files = append(files, found...)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := valid(string(data)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if !strings.Contains(file, "examples") && !strings.HasPrefix(string(data), "# yaml-language-server: $schema="+SchemaURL+"\n") {
			t.Errorf("%s: editors do not find the schema", file)
		}
	}
}

// So are the recipes.
func TestSchemaTakesCookbook(t *testing.T) {
	t.Parallel()
	valid := judge(t)
	blocks, err := doctest.Read("../../docs/cookbook.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks {
		if b.Language != "yaml" {
			continue
		}
		if err := valid("name: cookbook\nrules:\n" + b.Text); err != nil {
			t.Errorf("%s: %v", b.Heading, err)
		}
	}
}

const whole = `{"name": "shop", "rules": [{"table": "orders", "invalidate": ["order:{id}"], "warm": [{"key": "order:{id}", "sql": "select {id}", "ttl": "10m"}]}]}`

// The schema and the decoder agree on every key, with values that both take and
// values that neither does.
func TestSchemaAgrees(t *testing.T) {
	t.Parallel()
	valid := judge(t)
	checked := 0
	agree := func(text string, want bool) {
		t.Helper()
		checked++
		bySchema := valid(text)
		if _, err := read("freshet.yaml", []byte(text), func(string) (string, bool) { return "", false }); (err == nil) != want || (bySchema == nil) != want {
			t.Errorf("%s: want %v; the decoder says %v, the schema %v", text, want, err, bySchema)
		}
	}
	agree(whole, true)
	agree("", false)
	walk("", allKeys(), func(path string, s *shape) {
		good, bad := samples(path, s)
		for _, value := range good {
			agree(with(path, value), true)
		}
		for _, value := range bad {
			agree(with(path, value), false)
		}
		if misspelt := path + "x"; s.fields == nil {
			agree(with(misspelt, `"1"`), false)
		}
		if s.required {
			agree(with(path, ""), false)
		}
	})
	if checked < 300 {
		t.Errorf("%d values were checked; the test would prove little", checked)
	}
}

// samples are values that a key takes, and such that it does not.
func samples(path string, s *shape) (good, bad []string) {
	const list, keys = `["x"]`, `{"zzz": 1}`
	switch s.kind {
	case kindBoolean:
		return []string{`true`, `"false"`}, []string{`"yes"`, `1`, list, keys}
	case kindInteger:
		return []string{`1`, `"3"`, fmt.Sprint(s.most), `"${NONE:-2}"`}, []string{`0`, `-1`, `1.5`, `"x"`, `true`, fmt.Sprint(s.most + 1), list, keys}
	case kindCount:
		return []string{`0`, `"1_000"`}, []string{`-1`, `0.5`, `"many"`, list, keys}
	case kindDuration:
		return []string{`10s`, `1m30s`, `7d`, `"250ms"`, `1.5h`}, []string{`10`, `"10 s"`, `-1s`, `soon`, list, keys}
	case kindSize:
		return []string{`8GiB`, `500MB`, `1048576`, `1.5GiB`, `1kB`}, []string{`0`, `-1`, `8 gigs`, `1.5.5GiB`, list, keys}
	case kindShare:
		return []string{`20%`, `0.2`, `1`}, []string{`0`, `1.5`, `half`, list, keys}
	case kindRate:
		return []string{`200/s`, `1_000/s`}, []string{`200`, `200/m`, `fast`, list, keys}
	case kindText, kindSecret, kindPath:
		if s.words == nil {
			return nil, []string{list, keys}
		}
		return s.words, []string{`nonsense`, `3`, list, keys}
	case kindTexts:
		if s.words == nil {
			return nil, []string{`x`, keys, `[["x"]]`}
		}
		return []string{`["` + strings.Join(s.words, `", "`) + `"]`}, []string{`x`, keys, `["nonsense"]`}
	case kindSection:
		return []string{`null`, `{}`}, []string{`x`, `1`, list, keys}
	default:
		return nil, []string{`x`, `{}`, `[1]`, `[{"zzz": 1}]`}
	}
}

// with is the whole file with the value at the path; an empty value leaves the
// key out. Values are YAML, and so is the file.
func with(path, value string) string {
	var file map[string]any
	if err := yaml.Unmarshal([]byte(whole), &file); err != nil {
		return err.Error()
	}
	at := file
	steps := strings.Split(path, ".")
	for _, step := range steps[:len(steps)-1] {
		if name, isList := strings.CutSuffix(step, "[]"); isList {
			at = at[name].([]any)[0].(map[string]any)
			continue
		}
		if _, given := at[step]; !given {
			at[step] = map[string]any{}
		}
		at = at[step].(map[string]any)
	}
	last := steps[len(steps)-1]
	if value == "" {
		delete(at, last)
	} else {
		at[last] = mark
	}
	text, err := yaml.MarshalWithOptions(file, yaml.Flow(true), yaml.JSON())
	if err != nil {
		return err.Error()
	}
	return strings.Replace(string(text), `"`+mark+`"`, value, 1)
}

const mark = "HERE"
