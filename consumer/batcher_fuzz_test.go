package consumer

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/pgoutput"
)

// FuzzBatcher feeds a batcher with any sequence of messages, each behind its
// length, and checks that it does not panic and that whatever it emits can be
// read and written again.
func FuzzBatcher(f *testing.F) {
	recorded, err := os.ReadFile("../internal/pgoutput/testdata/recorded.hex")
	if err != nil {
		f.Fatal(err)
	}
	var all []byte
	for line := range bytes.FieldsSeq(recorded) {
		data, err := hex.DecodeString(string(line))
		if err != nil {
			f.Fatal(err)
		}
		if len(data) < 1000 {
			all = append(binary.BigEndian.AppendUint16(all, uint16(len(data))), data...)
		}
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, data []byte) {
		var c collector
		b := testBatcher(&c)
		b.cfg.chunk, b.cfg.changeBytes = 3, 400
		b.cfg.rootOf = func(_ uint32, schema, name string) (cdc.TableName, bool, error) {
			name, _, _ = strings.Cut(name, "_") // parted_1
			return cdc.TableName{Schema: schema, Table: name}, true, nil
		}
		for _, name := range []cdc.TableName{{Schema: "Sales", Table: "Order"}, {Schema: "public", Table: "whole"}, {Schema: "public", Table: "chosen"}, {Schema: "public", Table: "parted"}, {Schema: "public", Table: "bare"}} {
			b.tables[name] = &openTable{name: name, all: true, bulk: 5}
		}
		var d pgoutput.Decoder
		for len(data) >= 2 {
			n := min(int(binary.BigEndian.Uint16(data)), len(data)-2)
			m, err := d.Decode(data[2 : 2+n])
			data = data[2+n:]
			if err != nil {
				continue
			}
			if begin, ok := m.(*pgoutput.Begin); ok {
				b.begin(cdc.Transaction{LSN: begin.FinalLSN, XID: begin.XID, Time: begin.Time})
			}
			if err := b.apply(m); err != nil {
				return
			}
		}
		flushed(t, b)
		for _, m := range c.messages {
			var decoded cdc.Message
			if err := cdc.Decode(m.data, &decoded); err != nil {
				t.Fatalf("%v\n%s", err, m.data)
			}
			if again := decoded.AppendJSON(nil); !bytes.Equal(again, m.data) {
				t.Errorf("encoded again:\ngot  %s\nwant %s", again, m.data)
			}
			if len(decoded.Changes) != m.rows || m.rows > 3 {
				t.Errorf("%d changes, emitted as %d", len(decoded.Changes), m.rows)
			}
		}
	})
}
