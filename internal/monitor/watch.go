package monitor

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"
)

const (
	// watchEvery is how often who follows is told, and judgeEvery how often the
	// verdict is looked at: what gets stuck is told of at once.
	watchEvery, judgeEvery = time.Second, 500 * time.Millisecond
	// Silence is how long a part of another process may say nothing and still be
	// listed. It speaks once a second, so that it is missed within three when it has
	// died, and one word that is lost or late does no harm.
	Silence = 2200 * time.Millisecond
	// eventsKept is how many of the instance's last events a page begins with.
	eventsKept = 50
	// eventsTime bounds reading them.
	eventsTime = 5 * time.Second
)

// WatchConfig configures a Watch. The zero value watches the parts of this process.
type WatchConfig struct {
	// Beacon makes the reports of this process's parts. Defaults to one without
	// names.
	Beacon *Beacon
	// Conn is where the parts of other processes are heard. Nil: nowhere.
	Conn *nats.Conn
	// Statuses and Events are the subjects of all statuses and all events.
	Statuses, Events string
	// Past returns the instance's last events, oldest first, at most so many. Nil:
	// there are none.
	Past func(ctx context.Context, most int) ([]json.RawMessage, error)
	// Announce is told when the instance gets stuck and when it is not any more, in
	// one of its processes: the one that reads the slot, or else the one that
	// applies. Nil: nobody is.
	Announce func(Verdict)
	// Logger defaults to discarding everything.
	Logger *slog.Logger
}

// Watch knows how the whole instance is doing: this process's parts from
// themselves, those of other processes from what they publish on NATS. It keeps the
// last 15 minutes and tells everybody who follows /events.
type Watch struct {
	cfg     WatchConfig
	sources []Source
	hub     hub
	feed    feed

	mu      sync.Mutex // guards everything below
	heard   map[partName]heardReport
	history history
	events  []json.RawMessage // oldest first
	told    *Stage            // where the instance was last said to be stuck, empty for nowhere; nil: not known
}

type partName struct{ role, id string }

type heardReport struct {
	report Report
	at     time.Time
}

// Frame is what /events sends once a second.
type Frame struct {
	Time    time.Time `json:"time"`
	Verdict Verdict   `json:"verdict"`
	Reports []Report  `json:"reports"` // what /status shows
	Point   Point     `json:"point"`   // this second, for the charts
}

// NewWatch returns a Watch of an instance; sources are the parts of this process.
// Run keeps it up to date.
func NewWatch(cfg WatchConfig, sources ...Source) *Watch {
	if cfg.Beacon == nil {
		cfg.Beacon = &Beacon{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	w := &Watch{cfg: cfg, sources: sources, heard: map[partName]heardReport{}}
	w.feed = newFeed(&w.hub)
	return w
}

// Reports returns the newest report of every part of the instance: those of this
// process first, then the others that were heard in the last seconds.
func (w *Watch) Reports() []Report {
	reports := w.cfg.Beacon.Reports(w.sources...)
	own := len(reports)
	now := time.Now()
	w.mu.Lock()
	for name, h := range w.heard {
		if now.Sub(h.at) > Silence {
			delete(w.heard, name)
			continue
		}
		reports = append(reports, h.report)
	}
	w.mu.Unlock()
	slices.SortFunc(reports[own:], func(a, b Report) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.ID, b.ID))
	})
	return reports
}

// Applied shows what was applied to those who follow. It never waits.
func (w *Watch) Applied(item FeedItem) { w.feed.show(item) }

// Run watches until ctx ends. It returns nil: what cannot be heard is missing from
// the page, and nothing else depends on it.
func (w *Watch) Run(ctx context.Context) error {
	defer w.hub.close()
	group, ctx := errgroup.WithContext(ctx)
	if w.cfg.Conn != nil {
		w.listen(ctx, w.cfg.Statuses, w.hear)
		w.listen(ctx, w.cfg.Events, w.happened)
		group.Go(func() error { return w.remember(ctx) })
	}
	group.Go(func() error { return w.tick(ctx) })
	return group.Wait()
}

func (w *Watch) tick(ctx context.Context) error {
	tick := time.NewTicker(judgeEvery)
	defer tick.Stop()
	var next time.Time // when who follows is told at the latest
	var point Point
	var stage Stage
	for begun := time.Now(); ; {
		f := w.frame()
		whole := !f.Time.Before(next)
		if whole {
			next = f.Time.Add(watchEvery - judgeEvery/2) // ticks come a little early or late
			w.mu.Lock()
			point = w.history.add(f)
			w.mu.Unlock()
		}
		if whole || f.Verdict.Stage != stage {
			f.Point = point
			w.hub.send("status", f)
		}
		stage = f.Verdict.Stage
		w.announce(&f, time.Since(begun))
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (w *Watch) frame() Frame {
	f := Frame{Time: time.Now().UTC(), Reports: w.Reports()}
	f.Verdict = Judge(f.Reports, w.connected(), f.Time)
	return f
}

// Verdict says in words how the instance is doing.
func (w *Watch) Verdict() Verdict { return w.frame().Verdict }

func (w *Watch) connected() bool { return w.cfg.Conn == nil || w.cfg.Conn.IsConnected() }

func (w *Watch) listen(ctx context.Context, subject string, f func(*nats.Msg)) {
	sub, err := w.cfg.Conn.Subscribe(subject, f)
	if err != nil { // a closed connection: the process is stopping
		w.cfg.Logger.Debug("the dashboard hears nothing", "subject", subject, "error", err)
		return
	}
	context.AfterFunc(ctx, func() { _ = sub.Unsubscribe() }) // ends with the connection
}

func (w *Watch) hear(m *nats.Msg) {
	var r Report
	if json.Unmarshal(m.Data, &r) != nil || r.Role == "" || r.ID == w.cfg.Beacon.ID {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard[partName{r.Role, r.ID}] = heardReport{report: r, at: time.Now()}
}

func (w *Watch) happened(m *nats.Msg) {
	if !json.Valid(m.Data) {
		return
	}
	w.mu.Lock()
	w.events = lastEvents(append(w.events, m.Data))
	if stage := toldBy(m.Data); stage != nil {
		w.told = stage
	}
	w.mu.Unlock()
	w.hub.send("event", json.RawMessage(m.Data))
}

// remember reads the last events whenever NATS is there again: what was announced
// meanwhile was not heard.
func (w *Watch) remember(ctx context.Context) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	known := false
	for {
		switch {
		case w.cfg.Past == nil || !w.cfg.Conn.IsConnected():
			known = false
		case !known:
			known = w.recall(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (w *Watch) recall(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, eventsTime)
	defer cancel()
	past, err := w.cfg.Past(ctx, eventsKept)
	if err != nil {
		w.cfg.Logger.Debug("past events cannot be read", "error", err)
		return false
	}
	w.mu.Lock()
	seen := make(map[string]bool, len(past))
	for _, e := range past {
		seen[string(e)] = true
	}
	for _, e := range w.events {
		if !seen[string(e)] { // heard since past was read
			past = append(past, e)
		}
	}
	w.events = lastEvents(past)
	for _, e := range w.events {
		if stage := toldBy(e); stage != nil {
			w.told = stage
		}
	}
	events := slices.Clone(w.events)
	w.mu.Unlock()
	w.hub.send("events", events)
	return true
}

func lastEvents(all []json.RawMessage) []json.RawMessage {
	return all[max(0, len(all)-eventsKept):]
}

// beginning is what somebody who begins to follow is told first.
func (w *Watch) beginning() (events []json.RawMessage, past Columns) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events), w.history.columns()
}
