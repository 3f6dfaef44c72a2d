package cdc_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// TestBuilder builds random messages in both ways: change by change, and from
// a Message. They must not differ by a byte.
func TestBuilder(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	values := []string{"", "plain", "quote \" and \\", "line\n", "é🌊", "0123456789abcdef\x7f", strings.Repeat("long ", 50)}
	names := []string{"id", "clientId", `odd "name"`, "naïve"}
	epoch := cdc.Epoch{System: 1, Timeline: 2, Counter: 3}
	b := cdc.NewBuilder(`sh"op`, epoch)
	for range 200 {
		m := &cdc.Message{Source: `sh"op`, Epoch: epoch, Schema: "Sales", Table: "Order", Key: names[:r.IntN(3)]}
		b.Reset(m.Schema, m.Table, m.Key)
		for tx := range r.IntN(4) {
			tx := cdc.Transaction{LSN: cdc.LSN(r.Uint64N(1 << 40)), XID: uint32(tx), Time: time.UnixMicro(r.Int64N(1 << 51)).UTC()}
			b.Transaction(tx)
			listed := false
			for range r.IntN(4) {
				c := cdc.Change{Tx: len(m.Transactions), Op: cdc.Update, OldKnown: []cdc.OldKnown{cdc.OldFull, cdc.OldKey, cdc.OldNone}[r.IntN(3)]}
				if r.IntN(3) == 0 {
					c.Op, c.OldKnown = cdc.Insert, cdc.OldNone
				}
				b.Open(c.Op)
				for _, name := range names {
					f := cdc.NewField(name, cdc.AsText)
					switch v := values[r.IntN(len(values))]; r.IntN(4) {
					case 0:
						b.NewNull(&f)
						c.New = append(c.New, cdc.Column{Name: name})
					case 1:
						b.Unchanged(&f)
						c.Unchanged = append(c.Unchanged, name)
					default:
						b.New(&f, []byte(v))
						c.New = append(c.New, cdc.Column{Name: name, Value: text(v)})
					}
				}
				for _, name := range names[:r.IntN(len(names))] {
					f := cdc.NewField(name, cdc.AsInteger)
					if r.IntN(3) == 0 {
						b.OldNull(&f)
						c.Old = append(c.Old, cdc.Column{Name: name})
						continue
					}
					b.Old(&f, []byte("-12"))
					c.Old = append(c.Old, cdc.Column{Name: name, Value: number("-12")})
				}
				refuse := cdc.NewField("bad", cdc.AsText)
				bad := r.IntN(5) == 0
				if bad {
					b.Old(&refuse, []byte("\xff"))
				}
				if b.Close(c.OldKnown) == bad {
					t.Fatalf("close reports %v", !bad)
				}
				if !bad {
					m.Changes = append(m.Changes, c)
					if !listed {
						listed = true
						m.LSN = max(m.LSN, tx.LSN)
					}
				}
			}
			if listed {
				m.Transactions = append(m.Transactions, tx)
			}
		}
		if b.Len() != len(m.Changes) || b.LSN() != m.LSN {
			t.Errorf("builder has %d changes up to %s, want %d up to %s", b.Len(), b.LSN(), len(m.Changes), m.LSN)
		}
		size := b.Size()
		got, want := b.Finish(), m.AppendJSON(nil)
		if !bytes.Equal(got, want) {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
		if size < len(got) || size > len(got)+40 || cap(got) > size+size/8+64 {
			t.Errorf("size %d, length %d, capacity %d", size, len(got), cap(got))
		}
	}
}

// TestBuilderFinish goes on after a message and must not touch the one handed
// out, nor forget the transaction.
func TestBuilderFinish(t *testing.T) {
	t.Parallel()
	b := cdc.NewBuilder("shop", cdc.Epoch{System: 1, Timeline: 1})
	b.Reset("public", "orders", nil)
	b.Transaction(cdc.Transaction{LSN: 16, XID: 1})
	f := cdc.NewField("id", cdc.AsInteger)
	change := func(id string) {
		b.Open(cdc.Insert)
		b.New(&f, []byte(id))
		if !b.Close(cdc.OldNone) {
			t.Fatal("refused")
		}
	}
	change("1")
	first := b.Finish()
	kept := string(first)
	change("22")
	change("333")
	b.Undo()
	if got, want := b.Len(), 1; got != want {
		t.Errorf("length after undo %d, want %d", got, want)
	}
	second := b.Finish()
	if string(first) != kept {
		t.Errorf("the first message became %s", first)
	}
	const want = `{"v":1,"source":"shop","epoch":"1:1:0","lsn":"0/10","schema":"public","table":"orders",` +
		`"transactions":[{"lsn":"0/10","xid":1}],"changes":[{"tx":0,"op":"insert","new":{"id":%d}}]}`
	if got, want := kept, fmt.Sprintf(want, 1); got != want {
		t.Errorf("first:\ngot  %s\nwant %s", got, want)
	}
	if got, want := string(second), fmt.Sprintf(want, 22); got != want {
		t.Errorf("second:\ngot  %s\nwant %s", got, want)
	}
}

func TestAppendValue(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		encoding cdc.Encoding
		text     string
		want     string // empty: refused
	}{
		{"text", cdc.AsText, "a\tb", `"a\tb"`},
		{"text with every escape", cdc.AsText, "\x01\x1f\x7f\"\\/<>&\u2028", "\"\\u0001\\u001f\x7f\\\"\\\\/<>&\u2028\""},
		{"text with NUL", cdc.AsText, "a\x00b", ""},
		{"text not UTF-8", cdc.AsText, "plain text and \xc3", ""},
		{"surrogate in UTF-8", cdc.AsText, "\xed\xa0\x80", ""},
		{"integer", cdc.AsInteger, "-9223372036854775808", "-9223372036854775808"},
		{"integer that is none", cdc.AsInteger, "007", `"007"`},
		{"float", cdc.AsFloat, "1.5e-07", "1.5e-07"},
		{"float of many digits", cdc.AsFloat, "1e+20", "1e+20"},
		{"NaN", cdc.AsFloat, "NaN", `"NaN"`},
		{"infinity", cdc.AsFloat, "-Infinity", `"-Infinity"`},
		{"true", cdc.AsBool, "t", "true"},
		{"false", cdc.AsBool, "f", "false"},
		{"bool that is none", cdc.AsBool, "x", `"x"`},
		{"json", cdc.AsJSON, "{\"a\":\n 1}", "{\"a\":\n 1}"},
		{"json null", cdc.AsJSON, " null", `" null"`},
		{"json string", cdc.AsJSON, `"a"`, `"\"a\""`},
		{"json number", cdc.AsJSON, "7", "7"},
		{"json cut", cdc.AsJSON, `{"a":`, ""},
		{"json not UTF-8", cdc.AsJSON, "\"\xff\"", ""},
		{"json too deep", cdc.AsJSON, strings.Repeat("[", 9_997) + strings.Repeat("]", 9_997), ""},
		{"timestamptz", cdc.AsTimestampTZ, "2026-11-23 10:00:00.123456+00", `"2026-11-23T10:00:00.123456Z"`},
		{"timestamptz, whole second", cdc.AsTimestampTZ, "0001-01-01 00:00:00+00", `"0001-01-01T00:00:00Z"`},
		{"timestamptz, another zone", cdc.AsTimestampTZ, "2026-11-23 10:00:00+05:30", `"2026-11-23 10:00:00+05:30"`},
		{"timestamptz, BC", cdc.AsTimestampTZ, "0044-03-15 00:00:00+00 BC", `"0044-03-15 00:00:00+00 BC"`},
		{"timestamptz, year of five digits", cdc.AsTimestampTZ, "12026-11-23 10:00:00+00", `"12026-11-23 10:00:00+00"`},
		{"timestamptz, infinity", cdc.AsTimestampTZ, "infinity", `"infinity"`},
		{"timestamp", cdc.AsTimestamp, "2026-11-23 10:00:00.5", `"2026-11-23T10:00:00.5Z"`},
		{"timestamp, BC", cdc.AsTimestamp, "0044-03-15 00:00:00 BC", `"0044-03-15 00:00:00 BC"`},
		{"timestamp, minus infinity", cdc.AsTimestamp, "-infinity", `"-infinity"`},
		{"timestamp, cut", cdc.AsTimestamp, "2026-11-23 10:00:00.", `"2026-11-23 10:00:00."`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, ok := test.encoding.AppendValue(nil, []byte(test.text))
			if ok != (test.want != "") {
				t.Fatalf("got %q, %v, want %q", got, ok, test.want)
			}
			if ok && string(got) != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
