package monitor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Answer is the JSON that a control request is answered with.
type Answer struct {
	OK     bool            `json:"ok"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  string          `json:"error,omitempty"`  // what is wrong
	Remedy string          `json:"remedy,omitempty"` // what to do about it, where that is known
}

// RefusedError is the error of a request, with its remedy.
type RefusedError struct {
	Message, Remedy string
	// Bad says that the request itself is wrong, and not worth repeating.
	Bad bool
}

// BadRequest refuses a request that is wrong. remedy may be empty.
func BadRequest(remedy, format string, args ...any) error {
	return &RefusedError{Message: fmt.Sprintf(format, args...), Remedy: remedy, Bad: true}
}

// Error is the message and the remedy.
func (e *RefusedError) Error() string {
	if e.Remedy == "" {
		return e.Message
	}
	return e.Message + "; " + e.Remedy
}

// Decode reads a request's JSON strictly: an empty body is an empty request, a field
// that there is not is an error.
func Decode[T any](request []byte) (T, error) {
	var value T
	if len(bytes.TrimSpace(request)) == 0 {
		return value, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(request))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&value)
	if err == nil {
		if _, more := decoder.Token(); more != io.EOF {
			err = errors.New("one JSON object only")
		}
	}
	if err != nil {
		return value, BadRequest("docs/monitoring.md lists what each verb takes", "the request cannot be read: %v", err)
	}
	return value, nil
}

// encode is the answer's JSON.
func encode(result any, err error) []byte {
	answer := Answer{OK: err == nil}
	if err == nil {
		if answer.Result, err = json.Marshal(result); err != nil { // a bug: plain data
			answer.OK = false
		}
	}
	if err != nil {
		answer.Error = err.Error()
		var refused *RefusedError
		if errors.As(err, &refused) {
			answer.Error, answer.Remedy = refused.Message, refused.Remedy
		}
	}
	data, err := json.Marshal(answer)
	if err != nil { // a bug: all of it is valid
		return []byte(`{"ok":false,"error":"the answer cannot be encoded"}`)
	}
	return data
}

// code is the error code of an answer.
func code(err error) string {
	var refused *RefusedError
	if errors.As(err, &refused) && refused.Bad {
		return "400"
	}
	return "500"
}
