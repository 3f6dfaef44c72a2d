package near

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Broadcast is one numbered message about what has been invalidated.
type Broadcast struct {
	// Sender names the process that sends, and its life: numbers begin anew
	// with every sender.
	Sender string `json:"sender"`
	// N is the message's number: 1 for the sender's first, then one more each.
	N uint64 `json:"n"`
	// Keys are the keys invalidated, as they are in Redis.
	Keys []string `json:"keys,omitempty"`
	// Patterns are the Redis globs invalidated.
	Patterns []string `json:"patterns,omitempty"`
	// Tags are the tags invalidated.
	Tags []string `json:"tags,omitempty"`
	// AllTags says that every tag was.
	AllTags bool `json:"all_tags,omitempty"`
	// Epoch is the epoch of LSN, empty for an invalidation by hand.
	Epoch string `json:"epoch,omitempty"`
	// LSN is the highest commit LSN behind it, in Postgres' notation.
	LSN string `json:"lsn,omitempty"`
}

// Heartbeat tells receivers which number a sender has reached.
type Heartbeat struct {
	// Sender is as in Broadcast.
	Sender string `json:"sender"`
	// N is the number of the sender's last broadcast; 0 before the first.
	N uint64 `json:"n"`
	// Every is the time between heartbeats.
	Every time.Duration `json:"every"`
	// Role is the sender's role.
	Role string `json:"role,omitempty"`
	// Age is how long the sender had lived when it sent this, by its own clock.
	// A sender that hears itself learns from it how long its messages take.
	Age time.Duration `json:"age,omitempty"`
	// Bye says that the sender has ended and sends no more.
	Bye bool `json:"bye,omitempty"`
}

const (
	kindInvalidate = "invalidate"
	kindHeartbeat  = "heartbeat"
)

// Encode returns the message for b.
func (b Broadcast) Encode() ([]byte, error) {
	data, err := json.Marshal(struct {
		Kind string `json:"kind"`
		Broadcast
	}{kindInvalidate, b})
	if err != nil {
		return nil, fmt.Errorf("encode broadcast %d: %w", b.N, err)
	}
	return data, nil
}

// Encode returns the message for h.
func (h Heartbeat) Encode() ([]byte, error) {
	data, err := json.Marshal(struct {
		Kind string `json:"kind"`
		Heartbeat
	}{kindHeartbeat, h})
	if err != nil {
		return nil, fmt.Errorf("encode heartbeat %d: %w", h.N, err)
	}
	return data, nil
}

// Decode reads a message. Exactly one of the results is not nil unless there is
// an error; a kind that this version does not know is one, and a receiver must
// treat it as an invalidation of everything.
func Decode(data []byte) (*Broadcast, *Heartbeat, error) {
	var kind struct {
		Kind string `json:"kind"`
	}
	if err := json.Unmarshal(data, &kind); err != nil {
		return nil, nil, fmt.Errorf("decode broadcast: %w", err)
	}
	switch kind.Kind {
	case kindInvalidate:
		b := new(Broadcast)
		if err := json.Unmarshal(data, b); err != nil {
			return nil, nil, fmt.Errorf("decode broadcast: %w", err)
		}
		if b.Sender == "" || b.N == 0 {
			return nil, nil, fmt.Errorf("decode broadcast: sender %q, number %d", b.Sender, b.N)
		}
		return b, nil, nil
	case kindHeartbeat:
		h := new(Heartbeat)
		if err := json.Unmarshal(data, h); err != nil {
			return nil, nil, fmt.Errorf("decode heartbeat: %w", err)
		}
		if h.Sender == "" || h.Every <= 0 {
			return nil, nil, fmt.Errorf("decode heartbeat: sender %q, every %v", h.Sender, h.Every)
		}
		return nil, h, nil
	default:
		return nil, nil, fmt.Errorf("decode broadcast: kind %q is not known", kind.Kind)
	}
}

// Subject is the core NATS subject of one sender's broadcasts.
func Subject(name, sender string) string {
	return "freshet." + name + ".invalidated." + token(sender)
}

// Subjects is the wildcard subject of all broadcasts of an instance.
func Subjects(name string) string { return "freshet." + name + ".invalidated.*" }

// token makes one subject token of any text. Bytes that a token cannot hold are
// percent-encoded, as in all of Freshet's subjects.
func token(text string) string {
	if text == "" {
		return "%"
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		c := text[i]
		if c > ' ' && c < 0x7f && c != '.' && c != '*' && c != '>' && c != '%' {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	return b.String()
}
