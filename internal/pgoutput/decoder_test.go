package pgoutput_test

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/freshet-dev/freshet/internal/pgoutput"
)

func TestDecode(t *testing.T) {
	t.Parallel()
	var d pgoutput.Decoder
	for _, want := range samples() {
		data := encode(want)
		got, err := d.Decode(data)
		if err != nil {
			t.Fatalf("%T: %v", want, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if diff := compare(got, data); diff != "" {
			t.Errorf("%T: %s", want, diff)
		}
	}
}

// TestDecodeTruncated cuts every sample at every byte, and adds one: no part
// of a message is a message.
func TestDecodeTruncated(t *testing.T) {
	t.Parallel()
	var d pgoutput.Decoder
	for _, m := range samples() {
		data := encode(m)
		for n := range data {
			_, err := d.Decode(data[:n:n])
			var syntax *pgoutput.SyntaxError
			if !errors.As(err, &syntax) {
				t.Fatalf("%T cut at %d of %d: got error %v, want a SyntaxError", m, n, len(data), err)
			}
			if syntax.Offset > n {
				t.Errorf("%T cut at %d: offset %d lies behind the input", m, n, syntax.Offset)
			}
		}
		if _, err := d.Decode(append(data, 0)); err == nil {
			t.Errorf("%T with a byte too many: got no error", m)
		}
	}
}

func TestDecodeError(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, data, want string
	}{
		{"empty", "", "pgoutput message: byte 0: want kind of message, have 0 bytes left"},
		{"version 2", "S\x00\x00\x02\xdb\x01", "pgoutput message: byte 0: want kind of message of protocol version 1, have 'S'"},
		{"short begin", "B\x00\x00", "pgoutput begin: byte 1: want final LSN, have 2 bytes left"},
		{"insert without tuple", "I\x00\x00\x00\x01K\x00\x00", "pgoutput insert: byte 5: want kind of tuple N, have 'K'"},
		{"update kind", "U\x00\x00\x00\x01X\x00\x00", "pgoutput update: byte 5: want kind of tuple K, O or N, have 'X'"},
		{"update second kind", "U\x00\x00\x00\x01K\x00\x00K\x00\x00", "pgoutput update: byte 8: want kind of tuple N, have 'K'"},
		{"delete kind", "D\x00\x00\x00\x01N\x00\x00", "pgoutput delete: byte 5: want kind of tuple K or O, have 'N'"},
		{"column kind", "I\x00\x00\x00\x01N\x00\x02nx", "pgoutput insert: byte 9: want kind of column n, u, t or b, have 'x'"},
		{"columns that are not there", "I\x00\x00\x00\x01N\xff\xffn", "pgoutput insert: byte 8: want 65535 columns, have 1 bytes left"},
		{"column too long", "I\x00\x00\x00\x01N\x00\x01t\xff\xff\xff\xffab", "pgoutput insert: byte 13: want 4294967295 bytes of column, have 2 bytes left"},
		{"relations that are not there", "T\xff\xff\xff\xff\x00", "pgoutput truncate: byte 6: want 4294967295 OIDs of relations, have 0 bytes left"},
		{"name without end", "Y\x00\x00\x00\x01public", "pgoutput type: byte 5: want namespace ending in a zero byte, have none"},
		{"trailing byte", "O\x00\x00\x00\x00\x00\x00\x00\x01a\x00b", "pgoutput origin: byte 11: want end of message, have 1 more bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var d pgoutput.Decoder
			_, err := d.Decode([]byte(test.data))
			if got := fmt.Sprint(err); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// TestDecodeAliases holds the promise of no copies: rows point into the input.
func TestDecodeAliases(t *testing.T) {
	t.Parallel()
	var d pgoutput.Decoder
	data := encode(&pgoutput.Insert{Relation: 1, New: pgoutput.Tuple{{Kind: pgoutput.Text, Data: []byte("abc")}}})
	m, err := d.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	column := m.(*pgoutput.Insert).New[0].Data
	copy(data[bytes.Index(data, []byte("abc")):], "xyz")
	if got, want := string(column), "xyz"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := cap(column), len(column); got != want {
		t.Errorf("capacity %d, want %d: an append would overwrite the next column", got, want)
	}
}

//nolint:paralleltest // counts the allocations of the whole process
func TestDecodeAllocates(t *testing.T) {
	var d pgoutput.Decoder
	for _, m := range samples() {
		switch m.(type) {
		case *pgoutput.Relation, *pgoutput.Type, *pgoutput.Origin, *pgoutput.LogicalMessage:
			continue // rare, and their names are copied to be kept
		}
		data := encode(m)
		allocs := testing.AllocsPerRun(100, func() {
			if _, err := d.Decode(data); err != nil {
				t.Fatal(err)
			}
		})
		if allocs != 0 {
			t.Errorf("%T: got %v allocations, want none", m, allocs)
		}
	}
}

// FuzzDecode checks for any input that the decoder does not panic, that what
// it accepts encodes to the same bytes again, and that pglogrepl reads the
// same from it.
func FuzzDecode(f *testing.F) {
	for _, m := range samples() {
		f.Add(encode(m))
	}
	for _, data := range recorded(f) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var d pgoutput.Decoder
		m, err := d.Decode(data)
		if err != nil {
			return
		}
		if diff := compare(m, data); diff != "" {
			t.Error(diff)
		}
		if got := encode(m); !bytes.Equal(got, canonical(m, data)) {
			t.Errorf("encoded again:\ngot  %q\nwant %q", got, data)
		}
	})
}

// canonical returns data with the bits cleared that the protocol does not
// define and the decoder ignores. A relation has too many places for such, so
// that only its length is left to compare.
func canonical(m pgoutput.Message, data []byte) []byte {
	data = bytes.Clone(data)
	switch m := m.(type) {
	case *pgoutput.Relation:
		again := encode(m)
		if len(again) == len(data) || data[5] == 0 {
			return again
		}
	case *pgoutput.Type:
		if data[5] == 0 {
			return encode(m)
		}
	case *pgoutput.Truncate:
		data[5] &= 3
	case *pgoutput.LogicalMessage:
		data[1] &= 1
	}
	return data
}
