package monitor_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/freshet-dev/freshet/internal/monitor"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// reader and worker are reports; a reason makes them not ready.
func reader(state, reason string) monitor.Report {
	return monitor.Report{
		Role: "consumer", ID: "a", Time: noon, Ready: reason == "", Reason: reason,
		Status: json.RawMessage(fmt.Sprintf(`{"state":%q}`, state)),
	}
}

func worker(state string, active bool, age time.Duration, reason string) monitor.Report {
	status := fmt.Sprintf(`{"state":%q,"active":%t,"position":{"time":%q}}`, state, active, noon.Add(-age).Format(time.RFC3339Nano))
	return monitor.Report{Role: "invalidator", ID: "a", Time: noon, Ready: reason == "", Reason: reason, Status: json.RawMessage(status)}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	streaming, active := reader("streaming", ""), worker("active", true, 80*time.Millisecond, "")
	unknown := active
	unknown.Status = json.RawMessage(`{"state":"active","active":true,"position":{"time":"0001-01-01T00:00:00Z"}}`)
	for _, tc := range []struct {
		name    string
		reports []monitor.Report
		offline bool
		level   monitor.Level
		stage   monitor.Stage
		word    string
	}{
		{"all is well", []monitor.Report{streaming, active}, false, monitor.LevelFresh, "", "more than a second ago is applied"},
		{
			"others stand by",
			[]monitor.Report{reader("waiting_for_slot", ""), streaming, worker("waiting", false, time.Hour, ""), active},
			false, monitor.LevelFresh, "", "more than a second ago is applied",
		},
		{
			"a warmer's trouble is not the cache's",
			[]monitor.Report{streaming, active, {Role: "warmer", Reason: "postgres is away", Status: json.RawMessage(`{}`)}},
			false, monitor.LevelFresh, "", "is applied",
		},
		{"behind", []monitor.Report{streaming, worker("active", true, 9*time.Second, "")}, false, monitor.LevelBehind, "", "last 9.0 s"},
		{"nobody", nil, false, monitor.LevelStuck, monitor.StageConsumer, "no consumer"},
		{"no reader", []monitor.Report{active}, false, monitor.LevelStuck, monitor.StageConsumer, "no consumer"},
		{"only one that waits", []monitor.Report{reader("waiting_for_slot", ""), active}, false, monitor.LevelStuck, monitor.StageConsumer, "no consumer"},
		{"no worker", []monitor.Report{streaming}, false, monitor.LevelStuck, monitor.StageInvalidator, "no invalidator"},
		{"postgres away", []monitor.Report{reader("connecting", "refused"), worker("active", true, time.Minute, "60s")}, false, monitor.LevelStuck, monitor.StagePostgres, "last 1 min 0 s may still be stale"},
		{"nats, not postgres", []monitor.Report{reader("connecting", "publishing session ended: nats: API error"), active}, false, monitor.LevelStuck, monitor.StageNATS, "Stuck at NATS"},
		{"redis away", []monitor.Report{streaming, worker("redis_down", true, 42*time.Second, "refused")}, false, monitor.LevelStuck, monitor.StageRedis, "Redis does not answer. What was committed in the last 42 s"},
		{"redis away, so the stream is full", []monitor.Report{reader("paused_by_backpressure", "behind"), worker("redis_down", true, time.Hour, "refused")}, false, monitor.LevelStuck, monitor.StageRedis, "Redis"},
		{"nats away", []monitor.Report{reader("connecting", "no responders"), active}, true, monitor.LevelStuck, monitor.StageNATS, "NATS does not answer"},
		{"paused within the bound", []monitor.Report{streaming, worker("paused", true, time.Second, "")}, false, monitor.LevelStuck, monitor.StageInvalidator, "Paused"},
		{"flushing", []monitor.Report{streaming, worker("flushing", true, time.Second, "flushing")}, false, monitor.LevelStuck, monitor.StageInvalidator, "Flushing"},
		{"nothing applied yet", []monitor.Report{streaming, unknown}, false, monitor.LevelStuck, monitor.StageInvalidator, "nothing is known"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			v := monitor.Judge(tc.reports, !tc.offline, noon)
			if v.Level != tc.level || v.Stage != tc.stage || !strings.Contains(v.Sentence, tc.word) {
				t.Errorf("got %+v, want %s at %q with %q", v, tc.level, tc.stage, tc.word)
			}
			if v.Level == monitor.LevelStuck && len(v.Reasons) == 0 && tc.name != "nothing applied yet" {
				t.Error("stuck without a reason")
			}
		})
	}
}

// What will be wrong is said while everything is still fresh.
func TestVerdictWarns(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, status, want string }{
		{"nothing", `"retained_wal":700,"max_wal":1000`, ""},
		{"no limit known", `"retained_wal":700`, ""},
		{"slot near its limit", `"retained_wal":850,"max_wal":1000,"near_limit":true`, "keeps 85 % of max_wal"},
		{"governor", `"retained_wal":1200,"max_wal":1000,"governor":true`, "more WAL than max_wal"},
		{"heartbeat late", `"heartbeat_late":true`, "heartbeat through the WAL is late"},
		{"gap", `"pending_gaps":1`, "is being flushed"},
		{"gap of a moment ago", `"last_gap":"slot_lost","last_gap_at":"2026-11-23T11:59:30Z"`, "has been flushed; the slot was gone"},
		{"that is not over", `"pending_gaps":1,"last_gap":"slot_lost","last_gap_at":"2026-11-23T11:59:30Z"`, "is being flushed; the slot was gone"},
		{"gap of long ago", `"last_gap":"slot_lost","last_gap_at":"2026-11-23T11:50:00Z"`, ""},
		{"first start", `"pending_gaps":0,"last_gap":"slot_created","last_gap_at":"2026-11-23T11:59:30Z"`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := reader("streaming", "")
			r.Status = json.RawMessage(`{"state":"streaming",` + tc.status + `}`)
			v := monitor.Judge([]monitor.Report{r, worker("active", true, 80*time.Millisecond, "")}, true, noon)
			if v.Level != monitor.LevelFresh || tc.want == "" && len(v.Reasons) > 0 || tc.want != "" && (len(v.Reasons) != 1 || !strings.Contains(v.Reasons[0], tc.want)) {
				t.Errorf("got %+v, want fresh with %q", v, tc.want)
			}
		})
	}
}

// A process that would take over with other rules is told of; one too old to say
// which it has is not.
func TestVerdictTellsOfOtherRules(t *testing.T) {
	t.Parallel()
	for rules, want := range map[string]int{"": 0, "a": 0, "b": 1} {
		active := worker("active", true, 80*time.Millisecond, "")
		active.Rules = "a"
		read, waits := reader("streaming", ""), worker("waiting", false, time.Hour, "")
		read.ID, waits.ID, read.Rules, waits.Rules = "x", "x", rules, rules
		v := monitor.Judge([]monitor.Report{read, active, waits}, true, noon)
		if v.Level != monitor.LevelFresh || len(v.Reasons) != want || want > 0 && !strings.HasPrefix(v.Reasons[0], "rules: x and the active invalidator a ") {
			t.Errorf("%q: got %+v", rules, v)
		}
	}
}

// Dead letters are told of while they are news.
func TestVerdictTellsOfDeadLetters(t *testing.T) {
	t.Parallel()
	for at, want := range map[string]int{"2026-11-23T11:59:30Z": 1, "2026-11-23T11:50:00Z": 0} {
		w := worker("active", true, 80*time.Millisecond, "")
		w.Status = json.RawMessage(strings.Replace(string(w.Status), "{", fmt.Sprintf(`{"dead_letters":3,"dead_letter_at":%q,`, at), 1))
		v := monitor.Judge([]monitor.Report{reader("streaming", ""), w}, true, noon)
		if v.Level != monitor.LevelFresh || len(v.Reasons) != want || want > 0 && !strings.Contains(v.Reasons[0], "3 dead letters") {
			t.Errorf("at %s: got %+v", at, v)
		}
	}
}
