package cdc_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// FuzzDecode checks for any input that decoding does not panic, and for what
// it accepts that encoding/json finds it valid and finds the same values in
// it, and that encoding and decoding again changes nothing.
func FuzzDecode(f *testing.F) {
	f.Add(message().AppendJSON(nil))
	f.Add([]byte(`{"v":1}`))
	f.Add([]byte(` { "v" : 1, "transactions":[{}], "changes":[{"op":"insert","new":{"a":"\ud83c\udf0a\/\u0000","b":[{}],"c":-0.1e-7,"a":null}}], "x": [true,false] } `))
	f.Add([]byte(`{"v":1,"lsn":"1/FFFFFFFF","epoch":"18446744073709551615:1:2","key":["a"],"transactions":[{"lsn":"0/1","xid":1,"time":"2026-11-23T10:00:00+01:00"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var m cdc.Message
		if err := cdc.Decode(data, &m); err != nil {
			return
		}
		against(t, data, &m)
		encoded := m.AppendJSON(nil)
		var again cdc.Message
		if err := cdc.Decode(encoded, &again); err != nil {
			t.Fatalf("decode what was encoded: %v\n%s", err, encoded)
		}
		if twice := again.AppendJSON(nil); !bytes.Equal(twice, encoded) {
			t.Errorf("encoded again:\ngot  %s\nwant %s", twice, encoded)
		}
		against(t, encoded, &m)
	})
}

// against compares a decoded message with what encoding/json reads.
func against(t *testing.T, data []byte, m *cdc.Message) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var want map[string]any
	if err := d.Decode(&want); err != nil {
		t.Fatalf("encoding/json: %v\n%q", err, data)
	}
	equal := func(what string, got, want any) {
		t.Helper()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %#v, want %#v", what, got, want)
		}
	}
	str := func(v any) string { s, _ := v.(string); return s }
	list := func(v any) []any { l, _ := v.([]any); return l }
	equal("source", m.Source, str(want["source"]))
	equal("schema", m.Schema, str(want["schema"]))
	equal("table", m.Table, str(want["table"]))
	equal("key", fmt.Sprintf("%q", m.Key), fmt.Sprintf("%q", texts(want["key"])))
	equal("transactions", len(m.Transactions), len(list(want["transactions"])))
	for i, tx := range list(want["transactions"]) {
		tx, _ := tx.(map[string]any)
		if xid, ok := tx["xid"].(json.Number); ok {
			equal("xid", fmt.Sprint(m.Transactions[i].XID), xid.String())
		}
	}
	changes := list(want["changes"])
	equal("changes", len(m.Changes), len(changes))
	for i, c := range m.Changes {
		want, _ := changes[i].(map[string]any)
		equal("op", string(c.Op), str(want["op"]))
		equal("unchanged", fmt.Sprintf("%q", c.Unchanged), fmt.Sprintf("%q", texts(want["unchanged"])))
		equal("new", generic(t, c.New), row(want["new"]))
		equal("old", generic(t, c.Old), row(want["old"]))
	}
}

func texts(v any) []string {
	var all []string
	list, _ := v.([]any)
	for _, s := range list {
		text, _ := s.(string)
		all = append(all, text)
	}
	return all
}

func row(v any) map[string]any {
	if m, ok := v.(map[string]any); ok {
		return m
	}
	return map[string]any{}
}

// generic returns a row as encoding/json would.
func generic(t *testing.T, r cdc.Row) map[string]any {
	t.Helper()
	m := map[string]any{}
	for _, c := range r {
		switch c.Value.Kind {
		case cdc.Null:
			m[c.Name] = nil
		case cdc.String:
			m[c.Name] = c.Value.Text
		case cdc.Number:
			m[c.Name] = json.Number(c.Value.Text)
		case cdc.Bool:
			m[c.Name] = c.Value.Text == "true"
		case cdc.JSON:
			d := json.NewDecoder(strings.NewReader(c.Value.Text))
			d.UseNumber()
			var v any
			if err := d.Decode(&v); err != nil {
				t.Fatalf("document %q: %v", c.Value.Text, err)
			}
			m[c.Name] = v
		}
	}
	return m
}

// FuzzAppendValue checks that any text of any type becomes valid JSON or is
// refused, and that a string is the same when read.
func FuzzAppendValue(f *testing.F) {
	for e := range byte(7) {
		for _, text := range []string{"", "t", "42", "-0", "01", "1e+20", "NaN", `{"a":[1]}`, "2026-11-23 10:00:00.5+00", "2026-11-23 10:00:00", "infinity", "a\"b\\c\n\x00", "é🌊\xff"} {
			f.Add(e, []byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, e byte, text []byte) {
		encoding := cdc.Encoding(e % 7)
		got, ok := encoding.AppendValue(nil, text)
		clean := utf8.Valid(text) && !bytes.Contains(text, []byte{0})
		if !ok {
			if clean && (encoding != cdc.AsJSON || json.Valid(text)) {
				t.Errorf("encoding %d refused %q", encoding, text)
			}
			return
		}
		if !json.Valid(got) {
			t.Fatalf("encoding %d made %q of %q", encoding, got, text)
		}
		if encoding == cdc.AsText {
			var back string
			if err := json.Unmarshal(got, &back); err != nil || back != string(text) {
				t.Errorf("%q became %q (%v)", text, back, err)
			}
		}
	})
}
