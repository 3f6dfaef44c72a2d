package stream

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain fails when a Stream, a Session or a Reader leaves a goroutine
// behind after Close. Those of the embedded servers that were shut down end on
// their own time, which on a busy machine is longer than goleak waits by
// itself.
func TestMain(m *testing.M) {
	status := m.Run()
	if status == 0 {
		err := goleak.Find()
		for deadline := time.Now().Add(patience); err != nil && time.Now().Before(deadline); {
			err = goleak.Find()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
	}
	os.Exit(status)
}
