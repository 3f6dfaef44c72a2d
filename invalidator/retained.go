package invalidator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/stream"
)

// headerID names a message within the change stream.
const headerID = "Freshet-Id"

// errNoMessage is returned by retained when there is no such message.
var errNoMessage = errors.New("no such message in the change stream")

// errNATS marks errors of NATS among those that are otherwise Redis'.
var errNATS = errors.New("nats")

// codeNoMessage is JetStream's error code for a message that is not there.
const codeNoMessage = 10037

// retained is one message that the change stream holds.
type retained struct {
	Seq    uint64 `json:"seq"`
	Header []byte `json:"hdrs"`
	Data   []byte `json:"data"`
}

// retained asks the stream's leader for one message. The client's own call may
// be answered by a replica that is behind and does not have it yet.
func (v *Invalidator) retained(ctx context.Context, query map[string]any) (retained, error) {
	body, err := json.Marshal(query)
	if err != nil {
		return retained{}, err
	}
	reply, err := v.stream.Conn().RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET.freshet-"+v.cfg.Name, body)
	if err != nil {
		return retained{}, fmt.Errorf("%w: read the change stream: %w", errNATS, err)
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message *retained           `json:"message"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return retained{}, fmt.Errorf("%w: read the change stream: %w", errNATS, err)
	}
	switch {
	case answer.Error != nil && int(answer.Error.ErrorCode) == codeNoMessage:
		return retained{}, errNoMessage
	case answer.Error != nil:
		return retained{}, fmt.Errorf("%w: read the change stream: %w", errNATS, answer.Error)
	case answer.Message == nil:
		return retained{}, errNoMessage
	}
	return *answer.Message, nil
}

// lastMark returns the last mark in the stream: everything below its LSN was
// visible when it was published.
func (v *Invalidator) lastMark(ctx context.Context) (stream.Point, bool, error) {
	for {
		before, err := v.stream.Info(ctx)
		if errors.Is(err, stream.ErrMissing) {
			err = v.stream.Ensure(ctx) // deleted: begin with an empty one
			if err == nil {
				before, err = v.stream.Info(ctx)
			}
		}
		if err != nil {
			return stream.Point{}, false, fmt.Errorf("%w: look up the change stream: %w", errNATS, err)
		}
		msg, err := v.retained(ctx, map[string]any{"last_by_subj": v.stream.Subjects().Mark()})
		if errors.Is(err, errNoMessage) {
			return stream.Point{}, false, nil
		}
		if err != nil {
			return stream.Point{}, false, err
		}
		after, err := v.stream.Info(ctx)
		if err != nil {
			return stream.Point{}, false, fmt.Errorf("%w: look up the change stream: %w", errNATS, err)
		}
		if before.ID != after.ID {
			continue // made anew in between: the mark may belong to either
		}
		header, err := nats.DecodeHeadersMsg(msg.Header)
		var mark cdc.Mark
		if err != nil || header.Get(headerID) == "" || json.Unmarshal(msg.Data, &mark) != nil {
			return stream.Point{}, false, nil //nolint:nilerr // not ours: claim nothing
		}
		return stream.Point{
			Stream: after.ID, Seq: msg.Seq, ID: header.Get(headerID),
			LSN: mark.LSN, Time: mark.Time, Epoch: mark.Epoch,
		}, true, nil
	}
}
