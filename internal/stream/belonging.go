package stream

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
)

// Belonging is a stream or a bucket that the instance made.
type Belonging struct {
	Name     string // of the stream; that of a bucket begins with KV_
	Messages uint64
	Bytes    uint64
}

// Belongings lists the streams of the instance that there are, its bucket among
// them. A stream of the same name with other subjects is not the instance's.
func (s *Stream) Belongings(ctx context.Context) ([]Belonging, error) {
	bucket := s.cfg.bucketName()
	own := map[string][]string{
		s.cfg.streamName(): s.cfg.subjects().Stream(),
		s.cfg.eventsName(): {"freshet." + s.cfg.Name + ".events.*"},
		s.cfg.deadName():   {"freshet." + s.cfg.Name + ".dead.>"},
		s.cfg.warmName():   {"freshet." + s.cfg.Name + ".warm.*"},
		"KV_" + bucket:     {"$KV." + bucket + ".>"},
	}
	var found []Belonging
	for _, name := range []string{s.cfg.streamName(), s.cfg.eventsName(), s.cfg.deadName(), s.cfg.warmName(), "KV_" + bucket} {
		have, err := s.js.Stream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look for stream %q: %w", name, err)
		}
		info := have.CachedInfo()
		// Older releases may have had fewer of the subjects.
		if slices.ContainsFunc(info.Config.Subjects, func(subject string) bool { return !slices.Contains(own[name], subject) }) {
			continue
		}
		found = append(found, Belonging{Name: name, Messages: info.State.Msgs, Bytes: info.State.Bytes})
	}
	return found, nil
}

// Remove deletes a stream or bucket of the instance. One that is gone is no error.
func (s *Stream) Remove(ctx context.Context, b Belonging) error {
	if err := s.js.DeleteStream(ctx, b.Name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("delete stream %q: %w", b.Name, err)
	}
	return nil
}

// Store is the folder of the embedded server's files, absolute; "" when the server
// is not ours.
func (s *Stream) Store() string {
	if s.embedded == nil {
		return ""
	}
	return s.embedded.dir
}

// Discard stops the embedded server and removes its files, unless somebody else
// has a stream there. The folder goes with them when nothing else is in it. The
// Stream is closed.
func (s *Stream) Discard(ctx context.Context) (kept []string, err error) {
	for name := range s.js.StreamNames(ctx).Name() {
		kept = append(kept, name)
	}
	if err := s.Close(); err != nil || len(kept) > 0 {
		return kept, err
	}
	dir := s.Store()
	if err := errors.Join(os.RemoveAll(filepath.Join(dir, jetStreamFolder)), os.Remove(filepath.Join(dir, lockFile))); err != nil {
		return nil, fmt.Errorf("remove the embedded server's files: %w", err)
	}
	_ = os.Remove(dir) // not when somebody keeps other files there
	return nil, nil
}
