package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	lookupTimeout = 5 * time.Second

	errCodeNoMessage = 10037
	errCodeNoStream  = 10059
)

// find returns what lies at a sequence of the change stream. It asks the
// stream's leader: the direct API, which the client uses where it is allowed,
// may be answered by a replica that is behind.
func (s *Stream) find(ctx context.Context, seq uint64) (found, error) {
	name := s.cfg.streamName()
	// The client's own time limit is for JetStream's calls only, and a request
	// to a server that dies is never answered.
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	reply, err := s.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+name, fmt.Appendf(nil, `{"seq":%d}`, seq))
	if err != nil {
		return found{}, fmt.Errorf("stream %q: get message %d: %w", name, seq, err)
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Header []byte `json:"hdrs"`
		} `json:"message"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return found{}, fmt.Errorf("stream %q: get message %d: %w", name, seq, err)
	}
	if answer.Error != nil {
		switch answer.Error.ErrorCode {
		case errCodeNoMessage:
			return found{}, nil
		case errCodeNoStream:
			return found{}, fmt.Errorf("stream %q: %w", name, ErrMissing)
		}
		return found{}, fmt.Errorf("stream %q: get message %d: %w", name, seq, answer.Error)
	}
	if answer.Message == nil {
		return found{}, fmt.Errorf("stream %q: get message %d: %w", name, seq, errors.New("empty answer"))
	}
	here := found{exists: true}
	if len(answer.Message.Header) > 0 {
		header, err := nats.DecodeHeadersMsg(answer.Message.Header)
		if err != nil {
			return found{}, fmt.Errorf("stream %q: headers of message %d: %w", name, seq, err)
		}
		here.id = headerValue(header, headerID)
	}
	return here, nil
}
