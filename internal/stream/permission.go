package stream

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/nats-io/nats.go"
)

// PermissionError says that the server refuses a subject to our user. A request
// on such a subject is never answered, so that without it nothing would be seen
// but a server that does not answer.
type PermissionError struct {
	Action  string // publish or subscribe
	Subject string
}

// Error names the line that is missing.
func (e *PermissionError) Error() string {
	return fmt.Sprintf("the nats user may not %s %q; %s", e.Action, e.Subject, e.Remedy())
}

// Remedy says what to do about it.
func (e *PermissionError) Remedy() string {
	return "add it to " + e.Action + ".allow in the user's permissions; deploy/nats/permissions.conf has what each role needs"
}

var violation = regexp.MustCompile(`(?i)permissions violation for (publish|subscription)(?: to| with reply of) "([^"]+)"`)

// Refusal returns what an error of a connection says that its user may not do; nil
// for other errors.
func Refusal(err error) *PermissionError {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return nil
	}
	parts := violation.FindStringSubmatch(err.Error())
	if parts == nil {
		return nil
	}
	action := "publish"
	if strings.EqualFold(parts[1], "subscription") {
		action = "subscribe"
	}
	return &PermissionError{Action: action, Subject: parts[2]}
}

// needed reports whether the configuration cannot work without what was refused.
// An answer is sent to a subject of the asker's choice, at which it may be late.
func (e *PermissionError) needed() bool {
	if e.Action == "subscribe" {
		return true
	}
	for _, prefix := range []string{"freshet.", "$JS.", "$KV."} {
		if strings.HasPrefix(e.Subject, prefix) {
			return true
		}
	}
	return false
}
