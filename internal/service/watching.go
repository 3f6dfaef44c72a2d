package service

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"github.com/freshet-dev/freshet/consumer"
	"github.com/freshet-dev/freshet/internal/monitor"
	"github.com/freshet-dev/freshet/internal/stream"
	"github.com/freshet-dev/freshet/invalidator"
)

// fillEvery is how often the change stream is asked how full it is.
const fillEvery = time.Second

// newWatch returns what the dashboard shows of the whole instance.
func newWatch(cfg Config, s *stream.Stream, beacon *monitor.Beacon, parts []monitor.Source) *monitor.Watch {
	prefix := "freshet." + cfg.Stream.Name
	return monitor.NewWatch(monitor.WatchConfig{
		Beacon: beacon, Conn: s.Conn(), Statuses: prefix + ".status.*.*", Events: prefix + ".events.*",
		Past: s.PastEvents,
		Announce: func(v monitor.Verdict) {
			e := stream.Event{Kind: monitor.EventFresh, Role: "instance", Message: v.Sentence}
			if v.Level == monitor.LevelStuck {
				e.Kind, e.Fields = monitor.EventStuck, map[string]any{"stage": v.Stage}
				e.Message = strings.Join(append([]string{v.Sentence}, v.Reasons...), " ")
			}
			s.Emit(e)
		},
		Logger: cfg.Logger,
	}, parts...)
}

// feeding tells watch and the observer that there may be already what is applied.
// Without a follower that costs the next batch nothing but the question.
func feeding(watch *atomic.Pointer[monitor.Watch], other func(invalidator.Applied)) func(invalidator.Applied) {
	return func(a invalidator.Applied) {
		if other != nil {
			other(a)
		}
		if w := watch.Load(); w != nil && w.Following() {
			w.Applied(feedItem(a))
		}
	}
}

// feedItem shortens what was applied; its slices are valid during the call only.
func feedItem(a invalidator.Applied) monitor.FeedItem {
	item := monitor.FeedItem{
		Time: a.At, Rows: a.Rows, Removed: a.Removed, Targets: len(a.Keys) + len(a.Patterns) + len(a.Tags),
		Keys: firstOf(a.Keys), Patterns: firstOf(a.Patterns), Tags: firstOf(a.Tags),
	}
	for _, c := range a.Changes[:min(len(a.Changes), monitor.FeedNames)] {
		item.Changes = append(item.Changes, monitor.FeedChange{Table: c.Table.String(), Op: string(c.Op), Latency: c.Lag.Seconds()})
	}
	return item
}

func firstOf(names []string) []string {
	return append([]string(nil), names[:min(len(names), monitor.FeedNames)]...)
}

// fill is how full the change stream is.
type fill struct {
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	MaxBytes int64  `json:"max_bytes"`
	Pending  uint64 `json:"pending"` // messages behind the position
}

// filling asks NATS how full the change stream is while this process has the active
// invalidator.
type filling struct {
	stream      *stream.Stream
	invalidator *invalidator.Invalidator
	last        atomic.Pointer[fill] // nil: not known
}

func (f *filling) run(ctx context.Context) error {
	tick := time.NewTicker(fillEvery)
	defer tick.Stop()
	for {
		f.last.Store(f.ask(ctx))
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (f *filling) ask(ctx context.Context) *fill {
	s := f.invalidator.Status()
	if !s.Active {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, fillEvery)
	defer cancel()
	info, err := f.stream.Info(ctx)
	if err != nil {
		return nil
	}
	return &fill{Messages: info.Messages, Bytes: info.Bytes, MaxBytes: info.MaxBytes, Pending: max(info.LastSeq, s.Position.Seq) - s.Position.Seq}
}

// unpublishedAfter is how long a table may be missing: while processes get other rules
// one after the other, that is nothing to be told of.
const unpublishedAfter = 10 * time.Second

// publishing looks, while this process has the active invalidator, whether the
// consumer publishes what the rules need. One in another process may have been
// forgotten when the rules were changed: then nothing here would be removed for what
// it drops, and the position would go on.
type publishing struct {
	stream      *stream.Stream
	invalidator *invalidator.Invalidator
	tables      []consumer.Table
	since       time.Time              // when something was first missing; zero: nothing is
	missing     atomic.Pointer[string] // what, once it has been for unpublishedAfter
}

func (p *publishing) run(ctx context.Context) error {
	tick := time.NewTicker(fillEvery)
	defer tick.Stop()
	for {
		p.look(ctx, time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (p *publishing) look(ctx context.Context, now time.Time) {
	if !p.invalidator.Status().Active {
		p.since = time.Time{}
		p.missing.Store(nil)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, fillEvery)
	defer cancel()
	names, err := consumer.Unpublished(ctx, p.stream.KV(), p.tables)
	switch {
	case err != nil: // NATS is away, which is told of elsewhere
	case len(names) == 0:
		p.since = time.Time{}
		p.missing.Store(nil)
	case p.since.IsZero():
		p.since = now
	case now.Sub(p.since) >= unpublishedAfter:
		texts := make([]string, len(names))
		for i, name := range names {
			texts[i] = name.String()
		}
		text := strings.Join(texts, ", ")
		p.missing.Store(&text)
	}
}

// status says what is missing; empty for nothing.
func (p *publishing) status() string {
	if text := p.missing.Load(); text != nil {
		return *text
	}
	return ""
}
