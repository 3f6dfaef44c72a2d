package cdc_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
)

func text(s string) cdc.Value   { return cdc.Value{Kind: cdc.String, Text: s} }
func number(s string) cdc.Value { return cdc.Value{Kind: cdc.Number, Text: s} }

// message is the example of the contract and more.
func message() *cdc.Message {
	at := time.Date(2026, 11, 23, 10, 0, 0, 123456000, time.UTC)
	return &cdc.Message{
		Source: "shop", Epoch: cdc.Epoch{System: 7301, Timeline: 1}, LSN: 0x1A2B3C8,
		Schema: "public", Table: "orders", Key: []string{"id"},
		Transactions: []cdc.Transaction{
			{LSN: 0x1A2B3C8, XID: 731, Time: at},
			{LSN: 0x1A2B300, XID: 730, Time: at.Add(-time.Second)},
		},
		Changes: []cdc.Change{
			{
				Op:       cdc.Update,
				New:      cdc.Row{{Name: "id", Value: number("42")}, {Name: "client_id", Value: number("9")}, {Name: "status", Value: text("PAID")}},
				Old:      cdc.Row{{Name: "client_id", Value: number("7")}},
				OldKnown: cdc.OldFull, Unchanged: []string{"note"},
			},
			{Tx: 1, Op: cdc.Insert, OldKnown: cdc.OldNone, New: cdc.Row{
				{Name: "big", Value: number("9223372036854775807")},
				{Name: "paid", Value: cdc.Value{Kind: cdc.Bool, Text: "true"}},
				{Name: "doc", Value: cdc.Value{Kind: cdc.JSON, Text: `{"a": [1, "\u00e9"]}`}},
				{Name: "none", Value: cdc.Value{}},
				{Name: `odd "name"`, Value: text("line\nquote \" back \\ tab\t bell\a é 🌊")},
			}},
			{Tx: 1, Op: cdc.Delete, Old: cdc.Row{{Name: "id", Value: number("1")}}, OldKnown: cdc.OldKey},
			{Tx: 1, Op: cdc.Truncate, OldKnown: cdc.OldNone},
			{Tx: 1, Op: cdc.Bulk, OldKnown: cdc.OldNone},
		},
	}
}

func TestAppendJSON(t *testing.T) {
	t.Parallel()
	got := string(message().AppendJSON(nil))
	want := `{"v":1,"source":"shop","epoch":"7301:1:0","lsn":"0/1A2B3C8","schema":"public","table":"orders","key":["id"],` +
		`"transactions":[{"lsn":"0/1A2B3C8","xid":731,"time":"2026-11-23T10:00:00.123456Z"},{"lsn":"0/1A2B300","xid":730,"time":"2026-11-23T09:59:59.123456Z"}],` +
		`"changes":[{"tx":0,"op":"update","new":{"id":42,"client_id":9,"status":"PAID"},"old":{"client_id":7},"old_known":"full","unchanged":["note"]},` +
		`{"tx":1,"op":"insert","new":{"big":9223372036854775807,"paid":true,"doc":{"a": [1, "\u00e9"]},"none":null,"odd \"name\"":"line\nquote \" back \\ tab\t bell\u0007 é 🌊"}},` +
		`{"tx":1,"op":"delete","old":{"id":1},"old_known":"key"},{"tx":1,"op":"truncate"},{"tx":1,"op":"bulk"}]}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if !json.Valid([]byte(got)) {
		t.Error("not valid JSON")
	}
}

// TestAppendJSONMends checks that values made by hand that do not fit their
// kind still give a message that can be read.
func TestAppendJSONMends(t *testing.T) {
	t.Parallel()
	m := message()
	m.Changes = []cdc.Change{{Op: cdc.Insert, New: cdc.Row{
		{Name: "a", Value: number("NaN")},
		{Name: "b", Value: cdc.Value{Kind: cdc.Bool, Text: "perhaps"}},
		{Name: "c", Value: cdc.Value{Kind: cdc.JSON, Text: `{"open":`}},
		{Name: "d\xff", Value: text("a\xffb\x00c\x00")},
		{Name: "e", Value: number("")},
	}}}
	var got cdc.Message
	if err := cdc.Decode(m.AppendJSON(nil), &got); err != nil {
		t.Fatal(err)
	}
	want := cdc.Row{
		{Name: "a", Value: text("NaN")},
		{Name: "b", Value: text("perhaps")},
		{Name: "c", Value: text(`{"open":`)},
		{Name: "d\uFFFD", Value: text("a\uFFFDb\x00c\x00")},
		{Name: "e", Value: text("")},
	}
	if got := got.Changes[0].New; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	want := message()
	data := want.AppendJSON(nil)
	var got cdc.Message
	for range 2 { // the second time into used memory
		if err := cdc.Decode(data, &got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(normal(&got), normal(want)) {
			t.Errorf("got  %+v\nwant %+v", got, *want)
		}
	}
	// What a message before left behind must not show in a smaller one.
	small := &cdc.Message{Epoch: cdc.Epoch{System: 1}, Schema: "s", Table: "t", Transactions: []cdc.Transaction{{LSN: 1}}, Changes: []cdc.Change{{Op: cdc.Bulk}}}
	if err := cdc.Decode(small.AppendJSON(nil), &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(normal(&got), normal(small)) {
		t.Errorf("got  %+v\nwant %+v", got, *small)
	}
}

// normal returns a copy in which empty slices are nil, and what may be left
// out is there.
func normal(m *cdc.Message) *cdc.Message {
	c := *m
	c.Key = clip(m.Key)
	c.Transactions = clip(m.Transactions)
	c.Changes = nil
	for _, ch := range m.Changes {
		ch.New, ch.Old, ch.Unchanged = clip(ch.New), clip(ch.Old), clip(ch.Unchanged)
		if ch.OldKnown == "" {
			ch.OldKnown = cdc.OldNone
		}
		c.Changes = append(c.Changes, ch)
	}
	return &c
}

func clip[S ~[]E, E any](s S) S {
	if len(s) == 0 {
		return nil
	}
	return slices.Clone(s)
}

// TestDecodeForeign reads what our encoder does not write: white space,
// another order, unknown fields, escapes, nulls.
func TestDecodeForeign(t *testing.T) {
	t.Parallel()
	data := ` { "changes" : [ { "op" : "up\u0064ate", "new" : { "i\u0064" : "\ud83c\udf0a\/\b\f\ud800x", "n" : -1.5e+3 , "j" : [ null ] } ,
		"old" : null , "old_known" : "none", "tx" : 0, "later" : [ { } , [ ] , "x\"" , 1e9 , true , false , null ] } ] ,
		"transactions" : [ { "time" : "2026-11-23T12:00:00+02:00" , "xid" : 4294967295 , "lsn" : "1/0", "x" : {"y":{}} } ] , "key" : null ,
		"table" : "t" , "schema" : "s" , "lsn" : "ffffffff/FFFFFFFF" , "epoch" : "1:2:3" , "source" : "a" , "v" : 1 } ` + "\n"
	var got cdc.Message
	if err := cdc.Decode([]byte(data), &got); err != nil {
		t.Fatal(err)
	}
	want := &cdc.Message{
		Source: "a", Epoch: cdc.Epoch{System: 1, Timeline: 2, Counter: 3}, LSN: 1<<64 - 1, Schema: "s", Table: "t",
		Transactions: []cdc.Transaction{{LSN: 1 << 32, XID: 1<<32 - 1, Time: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)}},
		Changes: []cdc.Change{{Op: cdc.Update, OldKnown: cdc.OldNone, New: cdc.Row{
			{Name: "id", Value: text("🌊/\b\f\uFFFDx")},
			{Name: "n", Value: number("-1.5e+3")},
			{Name: "j", Value: cdc.Value{Kind: cdc.JSON, Text: "[ null ]"}},
		}}},
	}
	got.Transactions[0].Time = got.Transactions[0].Time.UTC()
	if !reflect.DeepEqual(normal(&got), normal(want)) {
		t.Errorf("got  %+v\nwant %+v", got, *want)
	}
}

func TestDecodeError(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, data, want string }{
		{"empty", ``, "byte 0: want a message, have the end"},
		{"null", `null`, "want a message, have 'n'"},
		{"no version", `{}`, "no version"},
		{"another version", `{"v":2,"changes":{}}`, "byte 5: version 2, this program reads 1"},
		{"not UTF-8", "{\"v\":1,\"table\":\"\xff\"}", "not valid UTF-8"},
		{"cut", `{"v":1,"table":"or`, "byte 18: want the rest of a string, have the end"},
		{"rest", `{"v":1}{`, "byte 7: want the end, have '{'"},
		{"op", `{"v":1,"changes":[{"op":"merge"}]}`, `byte 24: unknown op "merge"`},
		{"no op", `{"v":1,"changes":[{"tx":0}]}`, "byte 26: want a change with an op before this"},
		{"old_known", `{"v":1,"changes":[{"op":"bulk","old_known":"some"}]}`, `unknown old_known "some"`},
		{"transaction", `{"v":1,"changes":[{"op":"bulk","tx":1}],"transactions":[{}]}`, "change 0: no transaction 1"},
		{"no transaction", `{"v":1,"changes":[{"op":"bulk"}]}`, "change 0: no transaction 0"},
		{"negative", `{"v":1,"changes":[{"tx":-1}]}`, "byte 24: want an integer of 31 bits, have '-'"},
		{"xid", `{"v":1,"transactions":[{"xid":4294967296}]}`, "want an integer of 32 bits"},
		{"lsn", `{"v":1,"lsn":"zero"}`, `byte 13: lsn "zero"`},
		{"time", `{"v":1,"transactions":[{"time":"yesterday"}]}`, `byte 31: parsing time "yesterday"`},
		{"comma", `{"v":1,}`, "byte 7: want a name, have '}'"},
		{"leading zero", `{"v":1,"x":01}`, "byte 12: want a comma or the end of an object, have '1'"},
		{"control character", "{\"v\":1,\"x\":\"\n\"}", "want the rest of a string"},
		{"escape", `{"v":1,"x":"\x"}`, "want an escape"},
		{"surrogate", `{"v":1,"x":"\u12g4"}`, "want an escape with four hexadecimal digits"},
		{"depth", `{"v":1,"x":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`, "want at most 10000 levels"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var m cdc.Message
			err := cdc.Decode([]byte(test.data), &m)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

//nolint:paralleltest // counts the allocations of the whole process
func TestDecodeAllocates(t *testing.T) {
	m := message()
	for range 100 {
		m.Changes = append(m.Changes, m.Changes[0])
	}
	data := m.AppendJSON(nil)
	var got cdc.Message
	// The epoch's parts, and the two strings of the sample with escapes.
	const want = 3
	if allocs := testing.AllocsPerRun(100, func() {
		if err := cdc.Decode(data, &got); err != nil {
			t.Fatal(err)
		}
	}); allocs > want {
		t.Errorf("got %v allocations for %d changes, want %d", allocs, len(m.Changes), want)
	}
}
