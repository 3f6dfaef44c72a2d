package cdc

import (
	"fmt"
	"strconv"
	"strings"
)

// Epoch names a stretch of history within which commit LSNs strictly increase
// and may be compared: one server, one timeline, and no gap that could have
// moved LSNs back. LSNs of different epochs say nothing about each other.
type Epoch struct {
	System   uint64 // Postgres' system identifier
	Timeline uint32 // the timeline that the slot is read from
	Counter  uint32 // raised with every gap that could have moved LSNs back
}

// IsZero reports whether the epoch is unset.
func (e Epoch) IsZero() bool { return e == Epoch{} }

// String returns "<system>:<timeline>:<counter>".
func (e Epoch) String() string {
	return fmt.Sprintf("%d:%d:%d", e.System, e.Timeline, e.Counter)
}

// ParseEpoch reads what String writes.
func ParseEpoch(s string) (Epoch, error) {
	parts := strings.Split(s, ":")
	if len(parts) != 3 {
		return Epoch{}, fmt.Errorf("epoch %q: want system:timeline:counter", s)
	}
	system, err := strconv.ParseUint(parts[0], 10, 64)
	if err != nil {
		return Epoch{}, fmt.Errorf("epoch %q: system: %w", s, err)
	}
	timeline, err := strconv.ParseUint(parts[1], 10, 32)
	if err != nil {
		return Epoch{}, fmt.Errorf("epoch %q: timeline: %w", s, err)
	}
	counter, err := strconv.ParseUint(parts[2], 10, 32)
	if err != nil {
		return Epoch{}, fmt.Errorf("epoch %q: counter: %w", s, err)
	}
	return Epoch{System: system, Timeline: uint32(timeline), Counter: uint32(counter)}, nil
}

// MarshalText writes what String returns.
func (e Epoch) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// UnmarshalText reads what String returns.
func (e *Epoch) UnmarshalText(text []byte) error {
	parsed, err := ParseEpoch(string(text))
	if err != nil {
		return err
	}
	*e = parsed
	return nil
}
