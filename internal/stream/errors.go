package stream

import (
	"errors"
	"fmt"
)

var (
	// ErrSessionEnded is returned by every method of a Session that has ended:
	// a message was refused, an acknowledgement stayed out, the connection was
	// interrupted, or the session was closed. It is wrapped with the cause.
	ErrSessionEnded = errors.New("publishing session ended")

	// ErrTooLarge is returned by Session.Publish for a message above the
	// server's max_payload. Nothing was sent and the session goes on.
	ErrTooLarge = errors.New("message exceeds the NATS server's max_payload")

	// ErrMissing is returned when the change stream does not exist, as after
	// somebody deleted it. Stream.Ensure makes it again.
	ErrMissing = errors.New("change stream does not exist")

	// ErrLeaseLost is the cause with which Lead cancels the context of the
	// function that it runs when the lease could not be renewed in time or was
	// taken by another.
	ErrLeaseLost = errors.New("lease lost")

	// ErrClosed is returned by a Reader or a Stream after Close.
	ErrClosed = errors.New("stream is closed")

	// ErrInUse is returned by Open and Attach when another process runs the
	// embedded server on the same folder.
	ErrInUse = errors.New("in use by another process")

	errOutOfOrder = errors.New("acknowledgements out of order")
	errNoAck      = errors.New("no acknowledgement in time")
)

// SettingsError is returned by Open and Ensure when a stream or bucket exists
// with settings that Freshet cannot work with and cannot change.
type SettingsError struct {
	Stream  string // the JetStream stream's name
	Setting string // what is wrong, in JetStream's words
	Remedy  string // what to do about it
}

// Error names the stream, the setting and the remedy.
func (e *SettingsError) Error() string {
	return fmt.Sprintf("stream %q: %s; %s", e.Stream, e.Setting, e.Remedy)
}
