package stream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// acknowledge takes one publish acknowledgement. All messages of a session
// share one reply subject: the expected last sequence on each means that
// message n has the sequence base + n, so that the sequence tells which one is
// acknowledged, and any refusal ends the session whichever it was for.
func (x *Session) acknowledge(msg *nats.Msg) {
	seq, err := parseAck(msg)
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.err != nil {
		return
	}
	if err != nil {
		x.endLocked(err)
		return
	}
	if seq != x.base+x.acked+1 || x.acked == x.sent {
		x.endLocked(fmt.Errorf("%w: sequence %d after %d", errOutOfOrder, seq, x.base+x.acked))
		return
	}
	m := x.ring[x.acked%sessionWindow]
	x.acked++
	x.pending -= m.data
	x.moved = time.Now()
	if uint64(m.mark) > x.marked.Load() {
		x.marked.Store(uint64(m.mark))
	}
	select {
	case x.room <- struct{}{}:
	default:
	}
}

var (
	ackError = []byte(`"error":`)
	ackSeq   = []byte(`"seq":`)
)

// parseAck reads the sequence of an acknowledgement, which looks like
// {"stream":"freshet-shop","seq":42}, or the error of a refusal.
func parseAck(msg *nats.Msg) (uint64, error) {
	if len(msg.Data) == 0 {
		if msg.Header.Get("Status") == "503" {
			return 0, jetstream.ErrNoStreamResponse
		}
		return 0, jetstream.ErrInvalidJSAck
	}
	if !bytes.Contains(msg.Data, ackError) {
		if _, rest, ok := bytes.Cut(msg.Data, ackSeq); ok {
			digits := 0
			for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
				digits++
			}
			if seq, err := strconv.ParseUint(string(rest[:digits]), 10, 64); err == nil {
				return seq, nil
			}
		}
	}
	var answer struct {
		Error *jetstream.APIError `json:"error"`
		Seq   uint64              `json:"seq"`
	}
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		return 0, errors.Join(jetstream.ErrInvalidJSAck, err)
	}
	if answer.Error != nil {
		return 0, answer.Error
	}
	return answer.Seq, nil
}
