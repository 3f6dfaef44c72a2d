package warmer

import (
	"slices"
	"sync"
	"time"
)

const (
	// firstBreak and longestBreak bound how long a query that fails is not sent.
	firstBreak   = time.Second
	longestBreak = time.Minute
)

// stats is what Status is made of, and what is known of queries that fail.
type stats struct {
	mu      sync.Mutex // guards everything below
	s       Status
	away    map[State]string // servers that are away, with the reason
	queries map[string]*trouble
}

// trouble is what a query has been doing wrong.
type trouble struct {
	failures int
	until    time.Time // not sent before
}

func newStats(id string) *stats {
	return &stats{s: Status{ID: id, State: StateStarting}, away: map[State]string{}, queries: map[string]*trouble{}}
}

// worst orders the states that a server's absence makes.
var worst = []State{StateNATSDown, StateRedisDown, StatePostgresDown}

// Status returns a snapshot; it may be called at any time.
func (w *Warmer) Status() Status {
	st := w.stats
	st.mu.Lock()
	defer st.mu.Unlock()
	s := st.s
	s.Rules = slices.Clone(st.s.Rules)
	if s.State != StateActive {
		return s
	}
	for _, state := range worst {
		if reason, ok := st.away[state]; ok {
			s.State, s.Reason = state, reason
			break
		}
	}
	return s
}

func (st *stats) phase(s State) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.s.State = s
}

// lost notes that a server is away and reports whether that is news.
func (st *stats) lost(s State, err error) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	_, known := st.away[s]
	st.away[s] = err.Error()
	return !known
}

// found ends that and reports whether it was so.
func (st *stats) found(s State) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	_, known := st.away[s]
	delete(st.away, s)
	return known
}

func (st *stats) sent() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.s.Queries++
}

// result counts one in all and in its rule; an empty rule is not known.
func (st *stats) result(rule string, count func(*Results)) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.count(rule, count)
}

func (st *stats) count(rule string, count func(*Results)) *RuleStatus {
	count(&st.s.Results)
	if rule == "" {
		return nil
	}
	i := slices.IndexFunc(st.s.Rules, func(r RuleStatus) bool { return r.Rule == rule })
	if i < 0 {
		i = len(st.s.Rules)
		st.s.Rules = append(st.s.Rules, RuleStatus{Rule: rule})
	}
	count(&st.s.Rules[i].Results)
	return &st.s.Rules[i]
}

// pausing reports whether a query has failed too recently to be sent.
func (st *stats) pausing(query string) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	t := st.queries[query]
	return t != nil && time.Now().Before(t.until)
}

// failed notes that a query has failed and reports whether that is news.
func (st *stats) failed(rule, query, reason string) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.count(rule, func(r *Results) { r.Failed++ }).Reason = reason
	t := st.queries[query]
	news := t == nil
	if news {
		t = &trouble{}
		st.queries[query] = t
	}
	if now := time.Now(); !now.Before(t.until) { // others that failed with it count once
		t.failures++
		t.until = now.Add(min(firstBreak<<min(t.failures-1, 10), longestBreak))
	}
	return news
}

// worked ends that and reports whether it was so.
func (st *stats) worked(rule, query string) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.queries[query] == nil {
		return false
	}
	delete(st.queries, query)
	for i := range st.s.Rules {
		if st.s.Rules[i].Rule == rule {
			st.s.Rules[i].Reason = ""
		}
	}
	return true
}
