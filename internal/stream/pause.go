package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

const (
	keyPaused = "paused"
	pausePoll = 250 * time.Millisecond
)

// Pause says that workers are to apply nothing, and who asked for it.
type Pause struct {
	By   string    `json:"by,omitempty"` // as they called themselves
	Time time.Time `json:"time"`
}

// String is "since … by …".
func (p *Pause) String() string {
	text := "since " + p.Time.UTC().Format(time.RFC3339)
	if p.By != "" {
		text += " by " + p.By
	}
	return text
}

// Pause tells all workers of the instance, those that will start among them, to
// apply nothing until Resume. An instance that is paused already stays as it is.
func (s *Stream) Pause(ctx context.Context, by string) error {
	data, err := json.Marshal(Pause{By: by, Time: time.Now().UTC()})
	if err != nil {
		return fmt.Errorf("encode pause: %w", err)
	}
	if p, err := s.Paused(ctx); err != nil || p != nil {
		return err
	}
	if _, err := s.kv.Put(ctx, keyPaused, data); err != nil {
		return fmt.Errorf("pause: %w", err)
	}
	return nil
}

// Resume ends a pause, if any.
func (s *Stream) Resume(ctx context.Context) error {
	if err := s.kv.Delete(ctx, keyPaused); err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	return nil
}

// Paused returns the pause, nil when there is none.
func (s *Stream) Paused(ctx context.Context) (*Pause, error) {
	entry, err := s.kv.Get(ctx, keyPaused)
	if isMissingKey(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for a pause: %w", err)
	}
	p := &Pause{}
	if err := json.Unmarshal(entry.Value(), p); err != nil {
		p.By = "somebody who wrote the bucket by hand" // paused all the same
	}
	return p, nil
}

// WatchPaused calls f with the pause, or nil, once it is known and whenever it
// changes, until ctx ends. While the bucket cannot be read, what was last known
// holds.
func (s *Stream) WatchPaused(ctx context.Context, f func(*Pause)) {
	var last *Pause
	known := false
	for ctx.Err() == nil {
		p, err := s.Paused(ctx)
		if err == nil && (!known || (p == nil) != (last == nil) || p != nil && *p != *last) {
			last, known = p, true
			f(p)
		}
		sleep(ctx, pausePoll)
	}
}
