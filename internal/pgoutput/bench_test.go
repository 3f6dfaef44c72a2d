package pgoutput_test

import (
	"fmt"
	"testing"

	"github.com/jackc/pglogrepl"

	"github.com/freshet-dev/freshet/internal/pgoutput"
)

// BenchmarkDecode decodes rows of seven columns, as the source application's
// orders have them, and the recorded stream, with our decoder and pglogrepl's.
// The two take turns, so that a machine that slows down slows both.
func BenchmarkDecode(b *testing.B) {
	text := func(s string) pgoutput.Column { return pgoutput.Column{Kind: pgoutput.Text, Data: []byte(s)} }
	row := pgoutput.Tuple{
		text("123456"), text("789"), text("3"), text("IN_PRODUCTION"), text("1234.50"),
		text("2026-11-23 10:00:00.123456+00"), text("a note of some length, as people write them"),
	}
	insert := encode(&pgoutput.Insert{Relation: 16385, New: row})
	full := encode(&pgoutput.Update{Relation: 16385, OldKind: pgoutput.OldFull, Old: row, New: row})
	for _, input := range []struct {
		name     string
		messages [][]byte
	}{
		{"insert", [][]byte{insert}},
		{"update", [][]byte{full}},
		{"recorded", recorded(b)},
	} {
		for turn := range 2 {
			b.Run(fmt.Sprintf("%s/freshet/%d", input.name, turn), func(b *testing.B) {
				var d pgoutput.Decoder
				b.ReportAllocs()
				for b.Loop() {
					for _, data := range input.messages {
						if _, err := d.Decode(data); err != nil {
							b.Fatal(err)
						}
					}
				}
			})
			b.Run(fmt.Sprintf("%s/pglogrepl/%d", input.name, turn), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					for _, data := range input.messages {
						if _, err := pglogrepl.Parse(data); err != nil && len(data) > 8 {
							b.Fatal(err)
						}
					}
				}
			})
		}
	}
}
