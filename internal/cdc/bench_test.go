package cdc_test

import (
	"encoding/json"
	"strconv"
	"testing"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// BenchmarkDecode reads messages of a number of changes, and for comparison
// the same with encoding/json into maps. The two take turns.
func BenchmarkDecode(b *testing.B) {
	for _, rows := range []int{1, 256} {
		m := message()
		m.Changes = m.Changes[:1]
		for len(m.Changes) < rows {
			m.Changes = append(m.Changes, m.Changes[0])
		}
		data := m.AppendJSON(nil)
		for turn := range 2 {
			suffix := "rows=" + strconv.Itoa(rows) + "/" + strconv.Itoa(turn)
			b.Run("freshet/"+suffix, func(b *testing.B) {
				var m cdc.Message
				b.SetBytes(int64(len(data)))
				b.ReportAllocs()
				for b.Loop() {
					if err := cdc.Decode(data, &m); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(rows), "ns/row")
			})
			b.Run("encoding-json/"+suffix, func(b *testing.B) {
				b.SetBytes(int64(len(data)))
				b.ReportAllocs()
				for b.Loop() {
					var m map[string]any
					if err := json.Unmarshal(data, &m); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(rows), "ns/row")
			})
		}
	}
}

// BenchmarkAppendText writes text of a length, plain and with other scripts.
func BenchmarkAppendText(b *testing.B) {
	for name, text := range map[string]string{
		"short":   "IN_PRODUCTION",
		"long":    "a note of some length, as people write them, with nothing in it that needs an escape",
		"scripts": "naïve Übergrößen 🌊 and so on, ünd so weiter",
	} {
		b.Run(name, func(b *testing.B) {
			in := []byte(text)
			dst := make([]byte, 0, 256)
			b.SetBytes(int64(len(in)))
			for b.Loop() {
				dst, _ = cdc.AsText.AppendValue(dst[:0], in)
			}
		})
	}
}
