package monitor

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// Level says how fresh the cache is.
type Level string

// The levels of a verdict.
const (
	LevelFresh  Level = "fresh"  // within a second or two of the database
	LevelBehind Level = "behind" // everything works, and is further behind than that
	LevelStuck  Level = "stuck"  // something does not work; Stage says where
)

// Levels lists every level.
func Levels() []Level { return []Level{LevelFresh, LevelBehind, LevelStuck} }

// behindAfter is the age of the watermark from which on the cache is called behind.
const behindAfter = 2 * time.Second

// Stage is a place in the pipeline.
type Stage string

// The stages, in the order of the data.
const (
	StagePostgres    Stage = "postgres"
	StageConsumer    Stage = "consumer"
	StageNATS        Stage = "nats"
	StageInvalidator Stage = "invalidator"
	StageRedis       Stage = "redis"
)

// Verdict says in words whether the cache is fresh, and where it is stuck if not.
type Verdict struct {
	Level    Level    `json:"level"`
	Sentence string   `json:"sentence"`
	Stage    Stage    `json:"stage,omitempty"`   // where it is stuck
	Age      *float64 `json:"age"`               // of the watermark, in seconds; null when it is not known
	Reasons  []string `json:"reasons,omitempty"` // what is wrong or soon will be, part by part, with the remedy
}

// stateStages are the states of parts that are about another stage than their own.
var stateStages = map[string]Stage{
	"connecting":             StagePostgres,
	"creating_slot":          StagePostgres,
	"waiting_for_visibility": StagePostgres,
	"paused_by_backpressure": StageInvalidator,
	"redis_down":             StageRedis,
	"redis_full":             StageRedis,
	"broken":                 StageNATS,
}

// stuckWords begin the sentence about a stage.
var stuckWords = map[Stage]string{
	StagePostgres:    "Stuck between Postgres and the consumer.",
	StageConsumer:    "Stuck: the consumer does not read.",
	StageNATS:        "Stuck at NATS.",
	StageInvalidator: "Stuck at the invalidator.",
	StageRedis:       "Stuck at Redis.",
}

// stateWords say it better where the state is known.
var stateWords = map[string]string{
	"redis_down":             "Stuck: Redis does not answer.",
	"redis_full":             "Stuck: Redis is full. Deletes go on, the position stays.",
	"paused":                 "Paused: nothing is applied.",
	"flushing":               "Flushing: what may be stale is being removed.",
	"loading":                "Beginning: finding out what Redis holds.",
	"broken":                 "Stuck: the change stream has a hole, and is sent again.",
	"creating_slot":          "Stuck: Postgres has not made the slot yet.",
	"waiting_for_visibility": "Stuck: a commit in Postgres is not visible yet.",
}

// working returns the consumer that reads and the invalidator that applies; nil
// where no report says so.
func working(reports []Report) (reader, worker *judged) {
	for _, r := range reports {
		j := &judged{report: r}
		if json.Unmarshal(r.Status, &j.status) != nil {
			continue // a newer version's
		}
		switch {
		case r.Role == "consumer" && j.status.State != "waiting_for_slot" && (reader == nil || r.Ready && !reader.report.Ready):
			reader = j
		case r.Role == "invalidator" && j.status.Active && (worker == nil || r.Ready && !worker.report.Ready):
			worker = j
		}
	}
	return reader, worker
}

type judged struct {
	report Report
	status partStatus
}

// age is how old the position is, by the clock of the process that applies; for how
// long its report has been on its way is added by ours.
func (j *judged) age(now time.Time) (time.Duration, bool) {
	if j.status.Position.Time.IsZero() {
		return 0, false
	}
	waited := min(max(now.Sub(j.report.Time), 0), Silence) // the clocks may differ
	return max(j.report.Time.Sub(j.status.Position.Time), 0) + waited, true
}

// Judge looks at the reports of an instance. connected is whether NATS answers.
func Judge(reports []Report, connected bool, now time.Time) Verdict {
	reader, worker := working(reports)
	v := Verdict{Level: LevelFresh}
	var age time.Duration
	known := false
	if worker != nil {
		if age, known = worker.age(now); known {
			seconds := age.Seconds()
			v.Age = &seconds
		}
	}
	stuck := func(stage Stage, words string) {
		if v.Level != LevelStuck { // the first is the cause
			v.Level, v.Stage, v.Sentence = LevelStuck, stage, words
		}
	}
	switch {
	case !connected:
		stuck(StageNATS, "Stuck: NATS does not answer.")
		v.Reasons = append(v.Reasons, "nats: this process is not connected; start the server, or see what is between: it connects again by itself")
	case worker != nil && stateStages[worker.status.State] == StageRedis:
		stuck(StageRedis, stateWords[worker.status.State])
	case worker != nil && worker.status.State == "paused":
		stuck(StageInvalidator, stateWords["paused"])
		v.Reasons = append(v.Reasons, "invalidator: `freshet resume` continues; nothing is lost meanwhile")
	}
	if connected || reader != nil { // who cannot be heard may be there
		v.judgeReader(reader, stuck)
	}
	if connected || worker != nil {
		v.judgeWorker(worker, known, stuck)
	}
	v.warn(reader, worker, now)
	v.warnOfRules(reports, worker)
	for _, r := range reports {
		if !r.Ready {
			v.Reasons = append(v.Reasons, r.Role+" "+r.ID+": "+r.Reason)
		}
	}
	switch {
	case v.Level == LevelStuck && known:
		v.Sentence += " What was committed in the last " + ageText(age) + " may still be stale in the cache."
	case v.Level == LevelStuck:
		v.Sentence += " Until it is known what was applied, cached values may be stale."
	case age > behindAfter:
		v.Level = LevelBehind
		v.Sentence = "Everything works, and what was committed in the last " + ageText(age) + " is not applied yet."
	case age < time.Second:
		v.Sentence = "Every change committed more than a second ago is applied to Redis."
	default:
		v.Sentence = "Every change committed more than " + ageText(age) + " ago is applied to Redis."
	}
	return v
}

func (v *Verdict) judgeReader(reader *judged, stuck func(Stage, string)) {
	switch {
	case reader == nil:
		stuck(StageConsumer, "Stuck: no consumer reads the slot.")
		v.Reasons = append(v.Reasons, "consumer: none is heard; start one with `freshet run --roles consumer`")
	case !reader.report.Ready:
		v.stuckAs(reader, StageConsumer, stuck)
	}
}

func (v *Verdict) judgeWorker(worker *judged, known bool, stuck func(Stage, string)) {
	switch {
	case worker == nil:
		stuck(StageInvalidator, "Stuck: no invalidator is active.")
		v.Reasons = append(v.Reasons, "invalidator: none is active; start one with `freshet run --roles invalidator`")
	case !worker.report.Ready:
		v.stuckAs(worker, StageInvalidator, stuck)
	case !known:
		stuck(StageInvalidator, "Beginning: nothing is known to be applied yet.")
	}
}

func (v *Verdict) stuckAs(j *judged, stage Stage, stuck func(Stage, string)) {
	if other, found := stateStages[j.status.State]; found {
		stage = other
	}
	if j.status.State == "connecting" && strings.Contains(j.report.Reason, "nats: ") { // as errors of NATS begin
		stage = StageNATS
	}
	words, found := stateWords[j.status.State]
	if !found {
		words = stuckWords[stage]
	}
	stuck(stage, words)
}

// ageText is an age as people say it.
func ageText(d time.Duration) string {
	if d < 10*time.Second {
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	}
	minutes, seconds := int(d.Minutes()), int(d.Seconds())%60
	if minutes == 0 {
		return strconv.Itoa(seconds) + " s"
	}
	return strconv.Itoa(minutes) + " min " + strconv.Itoa(seconds) + " s"
}
