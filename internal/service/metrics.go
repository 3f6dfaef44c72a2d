package service

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/freshet-dev/freshet/consumer"
	"github.com/freshet-dev/freshet/internal/monitor"
	"github.com/freshet-dev/freshet/internal/verify"
	"github.com/freshet-dev/freshet/invalidator"
	"github.com/freshet-dev/freshet/warmer"
)

// metrics gives Prometheus what the parts' statuses say, at the moment of a scrape.
// Parts that run elsewhere are left out. docs/metrics.md lists all of them.
type metrics struct {
	running   Running
	verifying *verifying
	filling   *filling // nil without the invalidator
	maxWAL    int64
	parts     []monitor.Source
	watch     *monitor.Watch
}

// newRegistry returns a registry with our metrics, Go's and the process's.
func newRegistry(m *metrics) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(m, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("freshet_"+name, help, labels, nil)
}

var (
	descLagBytes    = desc("consumer_lag_bytes", "WAL between the server's end and what the slot has confirmed.")
	descLagSeconds  = desc("consumer_lag_seconds", "Age of the moment up to which everything is published.")
	descRetained    = desc("slot_retained_bytes", "WAL that Postgres keeps for the slot.")
	descVisibility  = desc("visibility_wait_seconds", "How long transactions were held until new snapshots showed them.")
	descSlotMax     = desc("slot_max_bytes", "max_wal: retained WAL beyond which the governor acts.")
	descPendingGaps = desc("pending_gaps", "Gaps declared whose flush is not done.")
	descLate        = desc("heartbeat_late", "1 while a message through the WAL is overdue.")
	descState       = desc("state", "1 for what the part is doing now, 0 for what it is not.", "role", "state")
	descChanges     = desc("published_changes_total", "Row changes published.", "schema", "table", "op")
	descMessages    = desc("published_messages_total", "Messages published to the change stream.")
	descGaps        = desc("gaps_total", "Gaps declared, by reason.", "reason")
	descGovernor    = desc("governor", "1 while retained WAL is beyond max_wal and what is published is confirmed.")
	descPending     = desc("stream_pending", "Messages of the change stream behind the position.")
	descStreamBytes = desc("stream_bytes", "Size of the change stream.")
	descStreamMax   = desc("stream_max_bytes", "Size at which the change stream drops its oldest messages.")
	descLatency     = desc("commit_to_applied_seconds", "From Postgres' commit time to Redis' reply.")
	descInvalidated = desc("invalidated_total", "Targets that rules invalidated, by rule and kind.", "rule", "kind")
	descRemoved     = desc("removed_total", "Values that were in Redis and were removed.")
	descPass        = desc("pattern_pass_seconds", "How long passes over the keyspace for patterns took.")
	descDead        = desc("dead_letters_total", "Messages and rows that could not be evaluated and were widened.")
	descWidened     = desc("widened_total", "Row changes of which something was not known exactly, and which were widened.")
	descLostOld     = desc("old_values_missing_total", "Messages whose changes lack old values that rules need.")
	descWatermark   = desc("watermark_age_seconds", "Age of the moment up to which everything is applied to Redis.")
	descRedisErrors = desc("redis_errors_total", "Attempts to change Redis that failed.")
	descWarmed      = desc("warmed_total", "Warm tasks, by what became of them.", "result")
	descVerified    = desc("verified_total", "Cached values looked at by the verifier, by what was found.", "result")
	descActive      = desc("active", "1 where this process does the role's work, 0 where it stands by.", "role")
	descReady       = desc("ready", "1 where the part is well, as /readyz says.", "role")
	descVerdict     = desc("verdict", "1 for how the whole instance is doing, as this process sees it.", "level")
	descPaused      = desc("paused", "1 while the instance is told to apply nothing.")
)

// Describe sends nothing: which of the metrics there are depends on the roles.
func (m *metrics) Describe(chan<- *prometheus.Desc) {}

// Collect reads the statuses.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	for _, part := range m.parts {
		gauge(out, descReady, truth(part.Ready() == ""), part.Role())
	}
	now := m.watch.Verdict().Level
	for _, level := range monitor.Levels() {
		gauge(out, descVerdict, truth(level == now), string(level))
	}
	if m.running.Consumer != nil {
		m.consumer(out, m.running.Consumer.Status())
	}
	if m.running.Invalidator != nil {
		m.invalidator(out, m.running.Invalidator.Status())
	}
	if m.running.Warmer != nil {
		m.warmer(out, m.running.Warmer.Status())
	}
	if s := m.verifying.status(); s != nil {
		m.verifier(out, *s)
	}
}

func (m *metrics) consumer(out chan<- prometheus.Metric, s consumer.Status) {
	states(out, RoleConsumer, s.State, consumer.States())
	active := s.State != consumer.StateWaiting
	gauge(out, descActive, truth(active), RoleConsumer)
	// From zero on, while standing by too: an increase is seen only in a series that was there before.
	for _, reason := range consumer.GapReasons() {
		counter(out, descGaps, float64(s.GapReasons[reason]), reason)
	}
	if !active {
		return // what it says of the slot is another process's
	}
	gauge(out, descLagBytes, float64(s.LagBytes))
	gauge(out, descLagSeconds, s.LagSeconds)
	gauge(out, descRetained, float64(s.Retained))
	gauge(out, descSlotMax, float64(m.maxWAL))
	gauge(out, descGovernor, truth(s.Governor))
	gauge(out, descPendingGaps, float64(s.PendingGaps))
	gauge(out, descLate, truth(s.Late))
	counter(out, descMessages, float64(s.Messages))
	for _, t := range s.Tables {
		counter(out, descChanges, float64(t.Changes), t.Schema, t.Table, string(t.Op))
	}
	buckets := map[float64]uint64{}
	var sum uint64
	for i, bound := range s.Visibility.Bounds {
		sum += s.Visibility.Counts[i]
		buckets[bound] = sum
	}
	out <- prometheus.MustNewConstHistogram(descVisibility, s.Visibility.Count, s.Visibility.Sum, buckets)
}

func (m *metrics) invalidator(out chan<- prometheus.Metric, s invalidator.Status) {
	states(out, RoleInvalidator, s.State, invalidator.States())
	gauge(out, descActive, truth(s.Active), RoleInvalidator)
	gauge(out, descPaused, truth(s.State == invalidator.StatePaused))
	if s.Active && !s.Position.Time.IsZero() {
		gauge(out, descWatermark, time.Since(s.Position.Time).Seconds())
	}
	if fill := m.filling.last.Load(); fill != nil {
		gauge(out, descPending, float64(fill.Pending))
		gauge(out, descStreamBytes, float64(fill.Bytes))
		gauge(out, descStreamMax, float64(fill.MaxBytes))
	}
	counter(out, descRemoved, float64(s.Removed))
	counter(out, descDead, float64(s.DeadLetters))
	counter(out, descWidened, float64(s.Widened))
	counter(out, descLostOld, float64(s.LostOlds))
	counter(out, descRedisErrors, float64(s.RedisErrors))
	for _, r := range s.Rules {
		counter(out, descInvalidated, float64(r.Keys), r.Rule, "key")
		counter(out, descInvalidated, float64(r.Patterns), r.Rule, "pattern")
		counter(out, descInvalidated, float64(r.Tags), r.Rule, "tag")
	}
	out <- prometheus.MustNewConstSummary(descPass, uint64(s.Passes), s.PassTime.Seconds(), nil)
	buckets := map[float64]uint64{}
	for _, b := range s.LatencyBuckets {
		buckets[b.UpTo.Seconds()] = uint64(b.Count)
	}
	out <- prometheus.MustNewConstHistogram(descLatency, uint64(s.Latency.Total), s.Latency.Sum.Seconds(), buckets)
}

func (m *metrics) warmer(out chan<- prometheus.Metric, s warmer.Status) {
	states(out, RoleWarmer, s.State, warmer.States())
	gauge(out, descActive, truth(s.State == warmer.StateActive), RoleWarmer)
	r := s.Results
	for result, n := range map[string]int64{
		"filled": r.Filled, "refused": r.Refused, "missing": r.Missing, "failed": r.Failed, "dropped": r.Dropped, "merged": r.Merged,
	} {
		counter(out, descWarmed, float64(n), result)
	}
}

func (m *metrics) verifier(out chan<- prometheus.Metric, s verify.Status) {
	for result, n := range map[string]int64{
		"fresh": s.Checked - s.Mismatches, "stale": s.Mismatches, "skipped": s.Skipped, "not_verifiable": s.Unverifiable, "failed": s.Failed,
	} {
		counter(out, descVerified, float64(n), result)
	}
}

// states gives one series for each state: what the part is doing has 1.
func states[S ~string](out chan<- prometheus.Metric, role string, now S, all []S) {
	for _, state := range all {
		gauge(out, descState, truth(state == now), role, string(state))
	}
}

func gauge(out chan<- prometheus.Metric, d *prometheus.Desc, value float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func counter(out chan<- prometheus.Metric, d *prometheus.Desc, value float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, value, labels...)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
