package invalidator

import (
	"sync"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/stream"
)

// stats is what Status is made of. All sides of the invalidator write to it.
type stats struct {
	mu      sync.Mutex // guards everything below
	s       Status
	base    State // starting, waiting, loading, active, stopped
	away    State // redis_down, redis_full, or ""
	hole    string
	holed   bool
	flushes int
	pause   *stream.Pause // nil while not paused
	behind  time.Time     // since when patterns have been holding the position back; zero: they do not
	latency latencies
	rate    rate
}

func newStats(id string, rules []string) *stats {
	st := &stats{base: StateStarting}
	st.s.ID = id
	st.s.Rules = make([]RuleCount, len(rules))
	for i, name := range rules {
		st.s.Rules[i].Rule = name
	}
	return st
}

// Status returns a snapshot; it may be called at any time.
func (v *Invalidator) Status() Status {
	st := v.stats
	st.mu.Lock()
	defer st.mu.Unlock()
	now := time.Now()
	s := st.s
	s.Rules = append([]RuleCount(nil), st.s.Rules...)
	s.State = st.state(now)
	s.Active = st.base == StateLoading || st.base == StateActive
	if s.State == StateBroken {
		s.Reason = "the change stream has a hole (" + st.hole + "); what the slot still has is sent again, the rest is flushed"
	}
	if s.State == StatePaused {
		s.Reason = "paused " + st.pause.String() + "; `freshet resume` continues, and nothing is lost meanwhile"
	}
	s.ChangesPerSecond = st.rate.perSecond(now)
	s.WarmPublished, s.WarmMerged, s.WarmDropped = v.warming.counts()
	s.Latency = st.latency.percentiles()
	s.LatencyBuckets = st.latency.buckets()
	return s
}

// leads reports whether this is the active invalidator.
func (st *stats) leads() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.base == StateLoading || st.base == StateActive
}

// state names the worst of what is the case.
func (st *stats) state(now time.Time) State {
	switch {
	case st.base == StateStarting, st.base == StateWaiting, st.base == StateStopped:
		return st.base
	case st.away != "":
		return st.away
	case st.base == StateLoading:
		return StateLoading
	case st.pause != nil:
		return StatePaused
	case st.holed:
		return StateBroken
	case st.flushes > 0:
		return StateFlushing
	case !st.behind.IsZero() && now.Sub(st.behind) > time.Second:
		return StateSweeping
	}
	return st.base
}

func (st *stats) phase(s State) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.base = s
	if s == StateActive {
		st.s.Reason = ""
	}
	switch s {
	case StateWaiting, StateStopped:
		st.away, st.holed, st.flushes = "", false, 0
		fallthrough
	case StateLoading:
		// What waited for a pass is read again.
		st.behind, st.s.PendingPatterns = time.Time{}, 0
	}
}

func (st *stats) owner(id string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.s.Owner = id
}

func (st *stats) reason(text string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.s.Reason = text
}

// trouble notes that Redis does not do what it was asked to, and reports
// whether that is news.
func (st *stats) trouble(s State, err error) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.s.RedisErrors++
	st.s.Reason = err.Error()
	news := st.away != s
	st.away = s
	return news
}

// calm ends trouble of one kind and reports whether there was any.
func (st *stats) calm(s State) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.away != s {
		return false
	}
	st.away, st.s.Reason = "", ""
	return true
}

func (st *stats) paused(p *stream.Pause) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.pause = p
}

// ordered counts what was invalidated without the stream.
func (st *stats) ordered(t Targets, removed int) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.s.Ordered += int64(len(t.Keys) + len(t.Patterns) + len(t.Tags))
	st.s.Removed += int64(removed)
}

func (st *stats) broken(holed bool, why string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.holed, st.hole = holed, why
}

func (st *stats) flushing(n int) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.flushes += n
}

// flushed is the progress of a flush.
func (st *stats) flushed(scanned, removed int64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.s.FlushScanned, st.s.FlushRemoved = scanned, removed
}

func (st *stats) moved(p Position) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.s.Position = p
}

// pending notes how many patterns wait for a pass to end.
func (st *stats) pending(n int) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.s.PendingPatterns += n
	switch {
	case st.s.PendingPatterns <= 0:
		st.behind = time.Time{}
	case st.behind.IsZero():
		st.behind = time.Now()
	}
}

func (st *stats) pass(patterns int, swept cache.Swept) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.s.Passes++
	st.s.Patterns += int64(patterns)
	st.s.Removed += swept.Removed
	st.s.LastPass = swept.Took
	st.s.PassTime += swept.Took
}

// warm counts warm tasks.
func (st *stats) warm(n int) {
	if n == 0 {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.s.WarmTasks += int64(n)
}

func (st *stats) dead() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.s.DeadLetters++
	st.s.DeadAt = time.Now().UTC()
}

// applied counts a batch whose exact targets are gone.
func (st *stats) applied(b *batch, todo cache.Batch, done cache.Applied, at time.Time) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.s.Batches++
	st.s.Messages += int64(b.messages)
	st.s.Changes += int64(b.rows)
	st.s.Keys += int64(len(todo.Keys))
	st.s.Tags += int64(len(todo.Tags))
	st.s.Removed += int64(done.Removed)
	st.rate.add(at, b.rows)
	for _, commit := range b.commits {
		st.latency.add(at.Sub(commit))
	}
	r := b.result
	if r == nil {
		return
	}
	st.s.Nulls += int64(r.Nulls)
	st.s.Widened += int64(r.Widened)
	for i, c := range r.ByRule {
		if i == len(st.s.Rules) {
			break
		}
		st.s.Rules[i].Keys += int64(c.Keys)
		st.s.Rules[i].Patterns += int64(c.Patterns)
		st.s.Rules[i].Tags += int64(c.Tags)
	}
}
