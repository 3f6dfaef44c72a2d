package service

import (
	"context"
	"encoding/json"
	"time"

	"github.com/freshet-dev/freshet/internal/monitor"
	"github.com/freshet-dev/freshet/internal/stream"
)

const (
	// mostEvents is how many past events are answered at most.
	mostEvents = 200
	// mostEventBytes keeps the answer well below what a message may hold.
	mostEventBytes = 512 << 10
)

// EventsRequest is the body of the verb events.
type EventsRequest struct {
	Since string `json:"since"` // a duration such as 1h
}

// From is the time from which on events are asked for.
func (r EventsRequest) From(now time.Time) (time.Time, error) {
	since, err := time.ParseDuration(r.Since)
	if err != nil || since <= 0 {
		return time.Time{}, monitor.BadRequest("", "since %q: want a duration such as 1h", r.Since)
	}
	return now.Add(-since), nil
}

// events answers with what has happened, oldest first: who may ask a process
// something need not be able to read streams.
func (c *control) events(ctx context.Context, request []byte, _ string) (any, error) {
	r, err := monitor.Decode[EventsRequest](request)
	if err != nil {
		return nil, err
	}
	from, err := r.From(time.Now())
	if err != nil {
		return nil, err
	}
	past, err := c.stream.PastEvents(ctx, mostEvents)
	if err != nil {
		return nil, err
	}
	return newest(past, from, mostEventBytes), nil
}

// newest leaves out what is older than from, and of the rest the oldest beyond most bytes.
func newest(events []json.RawMessage, from time.Time, most int) []json.RawMessage {
	first := len(events)
	for ; first > 0; first-- {
		var e stream.Event
		if json.Unmarshal(events[first-1], &e) != nil || e.Time.Before(from) {
			break
		}
		if most -= len(events[first-1]); most < 0 {
			break
		}
	}
	return append([]json.RawMessage{}, events[first:]...)
}
