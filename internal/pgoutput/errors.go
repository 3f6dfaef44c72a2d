package pgoutput

import "fmt"

// SyntaxError is returned for input that is not a message of protocol
// version 1.
type SyntaxError struct {
	Message string // the kind of message, such as "update"; "message" when it is not known
	Offset  int    // byte in the input at which decoding stopped
	Want    string // what should have stood there
	Have    string // what stood there
}

// Error says what was expected at which byte.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("pgoutput %s: byte %d: want %s, have %s", e.Message, e.Offset, e.Want, e.Have)
}
