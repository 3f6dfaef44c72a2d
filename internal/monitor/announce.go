package monitor

import (
	"encoding/json"
	"time"
)

// The kinds of the events that Announce is for.
const (
	EventStuck = "stuck" // field stage
	EventFresh = "fresh"
)

// beginningTime is how long an instance may take until it is first called stuck.
const beginningTime = 10 * time.Second

// announce tells of a change. Only one process of an instance does, so that each is
// told once; who that is may change, so all of them hear what was said last.
func (w *Watch) announce(f *Frame, running time.Duration) {
	stage := f.Verdict.Stage
	reader, worker := working(f.Reports)
	speaks := reader
	if speaks == nil {
		speaks = worker
	}
	if w.cfg.Announce == nil || speaks == nil || speaks.report.ID != w.cfg.Beacon.ID {
		return
	}
	w.mu.Lock()
	begins := w.told == nil && (stage == "" || running < beginningTime)
	same := w.told != nil && *w.told == stage
	if !same && (!begins || stage == "") {
		w.told = &stage
	}
	w.mu.Unlock()
	if !begins && !same {
		w.cfg.Announce(f.Verdict)
	}
}

// toldBy is where an event says that the instance is stuck; nil for another event.
func toldBy(event json.RawMessage) *Stage {
	var e struct {
		Kind   string
		Fields struct{ Stage Stage }
	}
	if json.Unmarshal(event, &e) != nil || e.Kind != EventStuck && e.Kind != EventFresh {
		return nil
	}
	return &e.Fields.Stage
}
