package cache

import (
	"encoding/json"
	"fmt"
	"time"
)

// Position is how far the stream of changes has been applied. It is kept on
// every Redis master beside the effects it vouches for, so that a master that
// forgets effects forgets the position with them.
type Position struct {
	// Stream is the change stream's random id.
	Stream string `json:"stream"`
	// Seq is the sequence of the last message applied.
	Seq uint64 `json:"seq"`
	// ID is that message's id.
	ID string `json:"id"`
	// Epoch is the epoch of LSN, as text.
	Epoch string `json:"epoch"`
	// LSN is the watermark: every transaction with a lower commit LSN is
	// applied.
	LSN LSN `json:"lsn"`
	// Time is the mark's time: everything committed before it is applied.
	Time time.Time `json:"time"`
	// Owner is the invalidator that may move the position.
	Owner string `json:"owner"`
	// Rules is the fingerprint of the rules it was applied with.
	Rules string `json:"rules"`
	// Removing is set while an invalidation that takes several steps, and that no
	// commit LSN stands for, has begun and has not ended: a flush, or one by hand.
	Removing bool `json:"removing,omitempty"`
	// Hold, while not zero, is what may be believed instead of LSN, and is
	// smaller: a gap's second flush is due.
	Hold LSN `json:"hold,omitempty"`
}

// Watermark is the LSN that may be believed: Hold while it is set, else LSN.
func (p Position) Watermark() LSN {
	if p.Hold != 0 && p.Hold < p.LSN {
		return p.Hold
	}
	return p.LSN
}

// encode writes the position as it is stored. The same position always gives
// the same bytes: the scripts compare them.
func (p Position) encode() string {
	p.Time = p.Time.UTC()
	text, err := json.Marshal(p)
	if err != nil {
		panic(fmt.Sprintf("cache: encode position: %v", err)) // only for a year beyond 9999
	}
	return string(text)
}

func decodePosition(text string) (Position, error) {
	var p Position
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return Position{}, fmt.Errorf("decode position: %w", err)
	}
	if p.Owner == "" {
		return Position{}, fmt.Errorf("decode position: no owner in %q", text)
	}
	return p, nil
}

// behind reports whether p lies before q in the stream. Sequences say so within
// one stream, LSNs within one epoch; between streams and epochs only the
// clock is left.
func (p Position) behind(q Position) bool {
	switch {
	case p.Stream == q.Stream && p.Seq != q.Seq:
		return p.Seq < q.Seq
	case p.Epoch == q.Epoch && p.LSN != q.LSN:
		return p.LSN < q.LSN
	default:
		return p.Time.Before(q.Time)
	}
}

// lowest returns what can be said of all positions together: the one furthest
// behind, with the smallest hold of any. Where they were applied with different
// rules the fingerprint is empty, which equals no rules.
func lowest(positions []Position) Position {
	low := positions[0]
	for _, p := range positions[1:] {
		if p.behind(low) {
			low = p
		}
	}
	for _, p := range positions {
		if p.Hold != 0 && (low.Hold == 0 || p.Hold < low.Hold) {
			low.Hold = p.Hold
		}
	}
	for _, p := range positions {
		low.Removing = low.Removing || p.Removing
	}
	for _, p := range positions {
		if p.Rules != positions[0].Rules {
			low.Rules = ""
		}
	}
	return low
}
