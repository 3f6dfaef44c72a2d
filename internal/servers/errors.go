package servers

import (
	"errors"
	"fmt"
)

// ErrRunning is returned by Start when the server is running already.
var ErrRunning = errors.New("server is running already")

// ErrNotRunning is returned by calls that need a running server.
var ErrNotRunning = errors.New("server is not running")

// ErrClosed is returned by calls on a server after Close.
var ErrClosed = errors.New("server is closed")

// MissingError says that a server's program is not installed, and what to do
// about it.
type MissingError struct {
	// Program is what was looked for, for example "redis-server".
	Program string
	// Searched lists where, in words.
	Searched string
	// Remedy is the command that installs it.
	Remedy string
}

// Error implements error.
func (e *MissingError) Error() string {
	return fmt.Sprintf("%s not found (searched %s); install it: %s", e.Program, e.Searched, e.Remedy)
}
