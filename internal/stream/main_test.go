package stream

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain fails when a Stream, a Session or a Reader leaves a goroutine
// behind after Close.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}
