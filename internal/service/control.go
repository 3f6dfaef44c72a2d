package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/monitor"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/stream"
	"github.com/freshet-dev/freshet/invalidator"
)

// control is what can be asked of this process over NATS.
type control struct {
	cfg         Config
	stream      *stream.Stream
	rules       *rule.Set
	invalidator *invalidator.Invalidator // nil when the role runs elsewhere
	reports     func() []monitor.Report

	jobs      sync.WaitGroup
	replaying sync.Mutex // held by the one replay that runs
	comparing sync.Mutex // held by the one verification that runs
}

// InvalidateRequest is the body of the verb invalidate. Names are without the
// cache's prefix.
type InvalidateRequest struct {
	Keys     []string `json:"keys,omitempty"`
	Patterns []string `json:"patterns,omitempty"`
	Tags     []string `json:"tags,omitempty"`
}

// InvalidateResult says how many values were there.
type InvalidateResult struct {
	Removed int `json:"removed"`
}

// ReplayRequest is the body of the verb replay: one of both.
type ReplayRequest struct {
	Since string `json:"since,omitempty"` // a duration such as 10m
	LSN   string `json:"lsn,omitempty"`   // a commit LSN such as 0/1A2B3C8
}

// ReplayEvent is the fields of the events of a replay.
type ReplayEvent struct {
	Job  string `json:"job"`
	Done bool   `json:"done"`
	invalidator.ReplayProgress
	Error string `json:"error,omitempty"`
}

// JobResult names a job; its progress comes as events.
type JobResult struct {
	Job string `json:"job"`
}

// PauseResult is what pause and resume answer.
type PauseResult struct {
	Paused bool `json:"paused"`
}

// verbs lists what can be asked for. Long jobs go on in ctx when their request has
// been answered.
func (c *control) verbs(ctx context.Context) []monitor.Verb {
	verbs := []monitor.Verb{
		{Name: "status", Quiet: true, Help: "the status of the process that answers", Serve: c.status},
		{Name: "explain", Quiet: true, Help: "which keys a row change removes, by which rule", Serve: c.explain},
		{Name: "events", Quiet: true, Help: "what has happened, from the last 200 events", Serve: c.events},
		{Name: "pause", Help: "apply nothing until resume; the slot keeps everything", Serve: c.pause},
		{Name: "resume", Help: "go on after pause", Serve: c.resume},
		{Name: "invalidate", Active: true, Long: true, Help: "remove keys, patterns and tags", Check: checkInvalidate, Serve: c.invalidate},
		{Name: "replay", Active: true, Help: "apply retained history again", Serve: func(_ context.Context, request []byte, _ string) (any, error) {
			return c.replay(ctx, request)
		}},
		{Name: "verify", Active: true, Help: "compare cached values with the database", Serve: func(_ context.Context, request []byte, _ string) (any, error) {
			return c.verify(ctx, request)
		}},
	}
	if c.cfg.Reload != nil {
		verbs = append(verbs, monitor.Verb{Name: "reload", Active: true, Help: "read the configuration file again", Serve: c.reload})
	}
	return verbs
}

func (c *control) run(ctx context.Context) error {
	defer c.jobs.Wait()
	cfg := monitor.ControlConfig{
		Instance: c.cfg.Stream.Name, ID: c.cfg.ID, Version: c.cfg.Version,
		Subject:  c.stream.Subjects().Control,
		Announce: c.announce, Logger: c.cfg.Logger,
	}
	if c.invalidator != nil {
		cfg.Active = func() bool { return c.invalidator.Status().Active }
	}
	group, ctx := errgroup.WithContext(ctx)
	if c.cfg.Reload != nil {
		group.Go(func() error { return c.hearReloads(ctx) })
	}
	group.Go(func() error { return monitor.NewControl(c.stream.Conn(), cfg, c.verbs(ctx)...).Run(ctx) })
	return group.Wait()
}

// announce makes an event of a request that may have changed something.
func (c *control) announce(verb, by string, request []byte, err error) {
	if by == "" {
		by = "somebody unnamed"
	}
	e := stream.Event{Kind: "control", Role: "control", Message: by + " asked for " + verb, Fields: map[string]any{"verb": verb, "by": by, "process": c.cfg.ID}}
	if text := string(request); text != "" {
		e.Fields["request"] = strings.ToValidUTF8(text[:min(len(text), 500)], "")
	}
	switch {
	case err != nil:
		e.Message += ", which was refused"
		e.Fields["error"] = err.Error()
	case verb == "pause":
		e.Kind, e.Message = "paused", "paused by "+by+": nothing is applied until `freshet resume`; the slot keeps everything"
	case verb == "resume":
		e.Kind, e.Message = "resumed", "resumed by "+by
	}
	c.stream.Emit(e)
}

func (c *control) status(_ context.Context, request []byte, _ string) (any, error) {
	if _, err := monitor.Decode[struct{}](request); err != nil {
		return nil, err
	}
	return c.reports(), nil
}

func (c *control) explain(_ context.Context, request []byte, _ string) (any, error) {
	r, err := monitor.Decode[rule.ChangeText](request)
	if err != nil {
		return nil, err
	}
	m, err := r.Message()
	if err != nil {
		return nil, monitor.BadRequest("", "%v", err)
	}
	return c.rules.Explain(m, nil), nil
}

func (c *control) pause(ctx context.Context, request []byte, by string) (any, error) {
	if _, err := monitor.Decode[struct{}](request); err != nil {
		return nil, err
	}
	return PauseResult{Paused: true}, c.stream.Pause(ctx, by)
}

func (c *control) resume(ctx context.Context, request []byte, _ string) (any, error) {
	if _, err := monitor.Decode[struct{}](request); err != nil {
		return nil, err
	}
	return PauseResult{}, c.stream.Resume(ctx)
}

func checkInvalidate(request []byte) error {
	r, err := monitor.Decode[InvalidateRequest](request)
	if err != nil {
		return err
	}
	return r.Check()
}

func (c *control) invalidate(ctx context.Context, request []byte, _ string) (any, error) {
	r, err := monitor.Decode[InvalidateRequest](request)
	if err != nil {
		return nil, err
	}
	removed, err := c.invalidator.Invalidate(ctx, invalidator.Targets{Keys: r.Keys, Patterns: r.Patterns, Tags: r.Tags})
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, &monitor.RefusedError{
			Message: "not done in time: Redis is slow or away, or patterns take long",
			Remedy:  "it may still happen, and may be asked for again; `freshet status` tells",
		}
	case errors.Is(err, invalidator.ErrNotActive):
		return nil, &monitor.RefusedError{Message: "this invalidator is not the active one any more", Remedy: "ask again: another takes over within seconds"}
	}
	return InvalidateResult{Removed: removed}, err
}

// Check refuses names that cannot be meant.
func (r InvalidateRequest) Check() error {
	if len(r.Keys)+len(r.Patterns)+len(r.Tags) == 0 {
		return monitor.BadRequest("give keys, patterns or tags", "nothing is named")
	}
	for kind, names := range map[string][]string{"key": r.Keys, "pattern": r.Patterns, "tag": r.Tags} {
		for _, name := range names {
			switch {
			case name == "":
				return monitor.BadRequest("", "an empty %s", kind)
			case strings.HasPrefix(name, "freshet:"):
				return monitor.BadRequest("", "%s %q: names that begin with freshet: are bookkeeping", kind, name)
			}
		}
	}
	for _, pattern := range r.Patterns {
		if strings.ContainsAny(pattern[:1], `*?[\`) {
			return monitor.BadRequest("begin it with what the keys have in common, such as order:*", "pattern %q has no literal prefix, and would remove everything", pattern)
		}
	}
	return nil
}

func (c *control) replay(ctx context.Context, request []byte) (any, error) {
	r, err := monitor.Decode[ReplayRequest](request)
	if err != nil {
		return nil, err
	}
	from, err := r.From(time.Now())
	if err != nil {
		return nil, err
	}
	if !c.replaying.TryLock() {
		return nil, &monitor.RefusedError{Message: "another replay is running", Remedy: "wait for its last event: `freshet tail --events`"}
	}
	job := "replay-" + randomID()
	emit := func(e ReplayEvent) {
		e.Job = job
		message := fmt.Sprintf("replay: %d of %d messages, %d keys, patterns and tags invalidated again, %d values removed", e.Messages, e.Of, e.Targets, e.Removed)
		switch {
		case e.Error != "":
			message = "replay failed: " + e.Error
		case e.Done && !e.Complete:
			message += fmt.Sprintf("; the stream began at %s, and what is not retained cannot be replayed", e.Begins.UTC().Format(time.RFC3339))
		}
		c.stream.Emit(stream.Event{Kind: "replay", Role: RoleInvalidator, Message: message, Fields: fieldsOf(e)})
	}
	c.jobs.Go(func() {
		defer c.replaying.Unlock()
		p, err := c.invalidator.Replay(ctx, from, func(p invalidator.ReplayProgress) {
			if p.Messages < p.Of {
				emit(ReplayEvent{ReplayProgress: p})
			}
		})
		last := ReplayEvent{Done: true, ReplayProgress: p}
		if err != nil {
			last.Error = err.Error()
		}
		emit(last)
	})
	return JobResult{Job: job}, nil
}

// From is where a replay begins.
func (r ReplayRequest) From(now time.Time) (invalidator.ReplayFrom, error) {
	switch {
	case (r.Since == "") == (r.LSN == ""):
		return invalidator.ReplayFrom{}, monitor.BadRequest("", "say since when, as a duration such as 10m, or from which LSN")
	case r.LSN != "":
		lsn, err := cdc.ParseLSN(r.LSN)
		if err != nil || lsn == 0 {
			return invalidator.ReplayFrom{}, monitor.BadRequest("", "lsn %q: want a commit LSN such as 0/1A2B3C8", r.LSN)
		}
		return invalidator.ReplayFrom{LSN: lsn}, nil
	}
	since, err := time.ParseDuration(r.Since)
	if err != nil || since <= 0 {
		return invalidator.ReplayFrom{}, monitor.BadRequest("", "since %q: want a duration such as 10m", r.Since)
	}
	return invalidator.ReplayFrom{Since: now.Add(-since)}, nil
}

// fieldsOf makes an event's fields of a struct.
func fieldsOf(value any) map[string]any {
	fields := map[string]any{}
	data, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(data, &fields)
	}
	if err != nil { // a bug: plain data
		return map[string]any{"error": err.Error()}
	}
	return fields
}
