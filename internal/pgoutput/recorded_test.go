package pgoutput_test

import (
	"bufio"
	"encoding/hex"
	"os"
	"testing"
)

// recorded returns the messages of testdata/recorded.hex, one a line, which a
// real server sent (TestServer writes them with -update).
func recorded(tb testing.TB) [][]byte {
	tb.Helper()
	f, err := os.Open("testdata/recorded.hex")
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	var messages [][]byte
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, err := hex.DecodeString(lines.Text())
		if err != nil {
			tb.Fatal(err)
		}
		messages = append(messages, data)
	}
	if err := lines.Err(); err != nil {
		tb.Fatal(err)
	}
	return messages
}
