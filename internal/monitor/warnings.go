package monitor

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// noticeFor is how long something that is over stays worth a line: whoever looks
// because of a wave of misses finds its cause.
const noticeFor = 5 * time.Minute

// gapMeanings say what became of slot, publication or server. The reason of a first
// start is no news.
var gapMeanings = map[string]string{
	"slot_lost":        "the slot was gone; find out who dropped it, or raise max_slot_wal_keep_size",
	"slot_changed":     "the slot was not the one of before; find out who made it anew",
	"slot_recreated":   "the slot was not the one of before; find out who made it anew",
	"publication_lost": "the publication was gone, or did not have a table; find out who changed it",
	"table_changed":    "a table was made anew or rewritten",
	"governor":         "the backlog was beyond twice max_wal, and was given up",
	"crash":            "Postgres crashed",
}

// warn tells what does not make the cache stale yet, or is being repaired, or was
// repaired a moment ago.
func (v *Verdict) warn(reader, worker *judged, now time.Time) {
	if reader != nil {
		v.Reasons = append(v.Reasons, reader.status.warnings(now)...)
	}
	if worker == nil {
		return
	}
	for _, lost := range worker.status.LostOld {
		if age := now.Sub(lost.At); age < noticeFor {
			v.Reasons = append(v.Reasons, fmt.Sprintf(
				"postgres: the replica identity of %s was changed: the last change came %s ago without old values that rules need, and was invalidated more broadly; `freshet check --sql` prints the statement that mends it",
				lost.Table, ageText(age)))
		}
	}
	if s := &worker.status; s.DeadLetters > 0 && now.Sub(s.DeadAt) < noticeFor {
		v.Reasons = append(v.Reasons, fmt.Sprintf(
			"invalidator: %d dead letters, the last one %s ago: what could not be evaluated was invalidated more broadly; `nats sub --all 'freshet.%s.dead.>'` shows each with its reason",
			s.DeadLetters, ageText(now.Sub(s.DeadAt)), worker.report.Instance))
	}
}

// warnOfRules names the processes that have read other rules than those that are
// applied: what theirs name and these do not is stale when its row changes, or will
// be once they take over.
func (v *Verdict) warnOfRules(reports []Report, worker *judged) {
	if worker == nil || worker.report.Rules == "" { // of another version
		return
	}
	var others []string
	for _, r := range reports {
		if r.Rules != "" && r.Rules != worker.report.Rules && !slices.Contains(others, r.ID) {
			others = append(others, r.ID)
		}
	}
	if len(others) > 0 {
		v.Reasons = append(v.Reasons, "rules: "+strings.Join(others, ", ")+" and the active invalidator "+worker.report.ID+
			" have read different ones; give them the same file, then `freshet reload`")
	}
}

func (s *partStatus) warnings(now time.Time) (warnings []string) {
	share := 0.0
	if s.MaxWAL > 0 {
		share = 100 * float64(s.Retained) / float64(s.MaxWAL)
	}
	const remedy = "find out why the invalidator is behind, or end the transaction that has been open for longest"
	switch {
	case s.Governor:
		warnings = append(warnings, "postgres: the slot keeps more WAL than max_wal, so that what is published is confirmed before it is applied; "+remedy)
	case s.NearLimit:
		warnings = append(warnings, fmt.Sprintf("postgres: the slot keeps %.0f %% of max_wal; %s", share, remedy))
	}
	if s.Late {
		warnings = append(warnings, "postgres: a heartbeat through the WAL is late; look for a transaction that hangs in commit, or for a backlog")
	}
	age := now.Sub(s.LastGapAt)
	switch recent := s.LastGap != "" && s.LastGap != "slot_created" && age < noticeFor; {
	case s.PendingGaps > 0 && !recent:
		warnings = append(warnings, "consumer: a gap has been declared, and what it may have touched is being flushed; the event says why")
	case recent:
		meaning := gapMeanings[s.LastGap]
		if meaning == "" {
			meaning = "the event says more"
		}
		done := "has been flushed"
		if s.PendingGaps > 0 {
			done = "is being flushed"
		}
		warnings = append(warnings, fmt.Sprintf("consumer: a gap (%s) %s ago, and what it may have touched %s; %s", s.LastGap, ageText(age), done, meaning))
	}
	return warnings
}
