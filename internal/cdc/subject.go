package cdc

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Subjects builds the NATS subjects of one instance. The zero value is not
// usable; Name is the instance's name from the configuration.
type Subjects struct{ Name string }

// Changes is the subject of a table's row changes.
func (s Subjects) Changes(schema, table string) string {
	return "freshet." + s.Name + ".changes." + Token(schema) + "." + Token(table)
}

// Start is the subject of session starts.
func (s Subjects) Start() string { return "freshet." + s.Name + ".progress.start" }

// Mark is the subject of watermarks in the stream.
func (s Subjects) Mark() string { return "freshet." + s.Name + ".progress.mark" }

// Gap is the subject of declared gaps.
func (s Subjects) Gap() string { return "freshet." + s.Name + ".progress.gap" }

// Stream lists the subjects that the change stream captures.
func (s Subjects) Stream() []string {
	return []string{"freshet." + s.Name + ".changes.>", "freshet." + s.Name + ".progress.*"}
}

// Invalidated is the core subject of one sender's numbered broadcasts.
func (s Subjects) Invalidated(sender string) string {
	return "freshet." + s.Name + ".invalidated." + Token(sender)
}

// Watermark is the core subject of the position's epoch, LSN and time.
func (s Subjects) Watermark() string { return "freshet." + s.Name + ".watermark" }

// Status is the core subject of one process's role.
func (s Subjects) Status(role, id string) string {
	return "freshet." + s.Name + ".status." + Token(role) + "." + Token(id)
}

// Event is the subject of one kind of event.
func (s Subjects) Event(kind string) string { return "freshet." + s.Name + ".events." + Token(kind) }

// Dead is the subject of a table's dead letters.
func (s Subjects) Dead(schema, table string) string {
	return "freshet." + s.Name + ".dead." + Token(schema) + "." + Token(table)
}

// Warm is the subject of a warm task; key is any text that names what is warmed.
func (s Subjects) Warm(key string) string {
	sum := sha256.Sum256([]byte(key))
	return "freshet." + s.Name + ".warm." + hex.EncodeToString(sum[:16])
}

// Control is the subject of a control verb.
func (s Subjects) Control(verb string) string { return "freshet." + s.Name + ".ctl." + Token(verb) }

// Token makes one subject token of any text: bytes that a subject token
// cannot hold (dot, asterisk, greater-than, percent, white space, control
// characters, everything beyond ASCII) are percent-encoded, and empty text
// becomes "%".
func Token(text string) string {
	if text == "" {
		return "%"
	}
	plain := true
	for i := range len(text) {
		if !plainToken(text[i]) {
			plain = false
			break
		}
	}
	if plain {
		return text
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(text) + 8)
	for i := range len(text) {
		c := text[i]
		if plainToken(c) {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	return b.String()
}

func plainToken(c byte) bool {
	return c > ' ' && c < 0x7f && c != '.' && c != '*' && c != '>' && c != '%'
}
