package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/cdc"
)

const (
	evidenceKey     = "evidence"
	evidenceVersion = 1
	kvTimeout       = 10 * time.Second
)

// errEvidenceTaken is returned when somebody else wrote the evidence: this consumer no longer holds the slot.
var errEvidenceTaken = errors.New("another consumer wrote the slot's evidence")

// evidence is what is known of the slot and the server independently of both, kept in the KV bucket. It is compared before
// streaming begins, so that a history that is not the continuation of the last one never passes for it (I5).
type evidence struct {
	Version int       `json:"version"`
	Slot    string    `json:"slot"`
	Epoch   cdc.Epoch `json:"epoch"`
	// Confirmed is at least what the slot was ever told to forget: it is saved before each status is sent.
	Confirmed cdc.LSN         `json:"confirmed"`
	Crash     time.Time       `json:"crash"` // catalog.Server.CrashMarker
	Tables    []tableEvidence `json:"tables"`
	Gaps      []*gap          `json:"gaps,omitempty"` // declared, and not yet passed by the position
	SavedAt   time.Time       `json:"saved_at"`
}

// tableEvidence is a table's fingerprint when its contents were last known to follow from the stream.
type tableEvidence struct {
	cdc.TableName
	Fingerprint *catalog.Fingerprint `json:"fingerprint"`   // nil: new
	Ops         []cdc.Op             `json:"ops,omitempty"` // that are published; empty: all
}

// table returns the fingerprint kept for a table, or nil.
func (e *evidence) table(name cdc.TableName) *catalog.Fingerprint {
	for i := range e.Tables {
		if e.Tables[i].TableName == name {
			return e.Tables[i].Fingerprint
		}
	}
	return nil
}

// setTable replaces the fingerprint kept for a table.
func (e *evidence) setTable(t Table, f *catalog.Fingerprint) {
	for i := range e.Tables {
		if e.Tables[i].TableName == t.name() {
			e.Tables[i].Fingerprint = f
			return
		}
	}
	e.Tables = append(e.Tables, tableEvidence{TableName: t.name(), Fingerprint: f, Ops: t.Ops})
}

// published returns the evidence of the tables that are published from now on. What is kept of one stays if the sessions so far have
// published all that is asked for now. Of any other, changes were read from the slot and dropped, by this process or by one with other
// rules: it is new, which makes a gap of it.
func (e *evidence) published(tables []Table) []tableEvidence {
	out := make([]tableEvidence, len(tables))
	for i, t := range tables {
		out[i] = tableEvidence{TableName: t.name(), Ops: t.Ops}
		if kept := e.of(t); kept != nil {
			out[i].Fingerprint = kept.Fingerprint
		}
	}
	return out
}

// of returns what is kept of a table; nil where less was published than it asks for.
func (e *evidence) of(t Table) *tableEvidence {
	for i := range e.Tables {
		if kept := &e.Tables[i]; kept.TableName == t.name() && coversOps(kept.Ops, t.Ops) {
			return kept
		}
	}
	return nil
}

// Unpublished returns which of tables the consumer that reads the slot, in whatever process, does not publish, or not all operations
// of: it runs with other rules. It goes by what the consumer keeps in the instance's bucket, and says nothing where that is not there.
func Unpublished(ctx context.Context, kv jetstream.KeyValue, tables []Table) ([]cdc.TableName, error) {
	store := evidenceStore{kv: kv}
	kept, err := store.load(ctx)
	if err != nil || kept == nil {
		return nil, err
	}
	var out []cdc.TableName
	for _, t := range tables {
		if kept.of(t) == nil {
			out = append(out, t.name())
		}
	}
	return out, nil
}

// coversOps reports whether had, of which empty means all, holds everything in want.
func coversOps(had, want []cdc.Op) bool {
	if len(want) == 0 {
		want = []cdc.Op{cdc.Insert, cdc.Update, cdc.Delete, cdc.Truncate}
	}
	return len(had) == 0 || !slices.ContainsFunc(want, func(op cdc.Op) bool { return !slices.Contains(had, op) })
}

// evidenceStore loads and saves evidence with compare and set, so that a consumer that has lost the slot without noticing cannot
// overwrite what its successor wrote.
type evidenceStore struct {
	kv       jetstream.KeyValue
	revision uint64
}

// load reads the evidence; nil when there is none.
func (s *evidenceStore) load(ctx context.Context) (*evidence, error) {
	ctx, cancel := context.WithTimeout(ctx, kvTimeout)
	defer cancel()
	entry, err := s.kv.Get(ctx, evidenceKey)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		s.revision = 0
		return nil, nil //nolint:nilnil // absence is an ordinary answer here
	}
	if err != nil {
		return nil, fmt.Errorf("load evidence: %w", err)
	}
	var e evidence
	if err := json.Unmarshal(entry.Value(), &e); err != nil {
		return nil, fmt.Errorf("load evidence: %w", err)
	}
	s.revision = entry.Revision()
	return &e, nil
}

// save replaces what load or the last save saw.
func (s *evidenceStore) save(ctx context.Context, e *evidence) error {
	ctx, cancel := context.WithTimeout(ctx, kvTimeout)
	defer cancel()
	e.Version, e.SavedAt = evidenceVersion, time.Now().UTC()
	data, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("save evidence: %w", err)
	}
	var revision uint64
	if s.revision == 0 {
		revision, err = s.kv.Create(ctx, evidenceKey, data)
	} else {
		revision, err = s.kv.Update(ctx, evidenceKey, data, s.revision)
	}
	if errors.Is(err, jetstream.ErrKeyExists) {
		return fmt.Errorf("save evidence: %w: %w", errEvidenceTaken, err)
	}
	if err != nil {
		return fmt.Errorf("save evidence: %w", err)
	}
	s.revision = revision
	return nil
}

// history is what is found at connect, to be compared with the evidence.
type history struct {
	system  system
	crash   time.Time
	marked  cdc.LSN       // of the last mark known to stand in the stream, of the epoch in the evidence
	slot    *catalog.Slot // nil: there is none
	created bool          // by us, just now
}

// verdict is what a comparison finds. Reason is empty when history goes on.
type verdict struct {
	reason string
	// moved is true when LSNs may have moved back, so that they cannot be compared with earlier ones.
	moved  bool
	detail string // for people
}

// compare says whether what is found continues what was recorded. It does not look at tables.
func (e *evidence) compare(h history) verdict {
	switch {
	case e == nil && h.created:
		return verdict{reason: reasonSlotCreated, detail: "the slot is new: what happened before it is not known"}
	case e == nil:
		return verdict{reason: reasonNoEvidence, moved: true, detail: "there is no record of how far this slot was read"}
	case h.system.id != e.Epoch.System:
		return verdict{
			reason: reasonSystem, moved: true,
			detail: fmt.Sprintf("this is another database cluster: system identifier %d, before %d", h.system.id, e.Epoch.System),
		}
	case h.system.timeline != e.Epoch.Timeline:
		return verdict{
			reason: reasonTimeline, moved: true,
			detail: fmt.Sprintf("the server is on timeline %d, before %d: a standby was promoted or a backup restored", h.system.timeline, e.Epoch.Timeline),
		}
	case h.system.walEnd < max(e.Confirmed, h.marked):
		// Only WAL that is on disk is sent, so a server that has lost nothing has all that was published, confirmed or not.
		return verdict{
			reason: reasonWALBack, moved: true,
			detail: fmt.Sprintf("the server's WAL ends at %s, before %s, which was read: it was restored to an earlier state", h.system.walEnd, max(e.Confirmed, h.marked)),
		}
	case e.Slot != "" && h.slot != nil && h.slot.Name != e.Slot:
		return verdict{reason: reasonSlotChanged, moved: true, detail: fmt.Sprintf("the slot is %q, before %q", h.slot.Name, e.Slot)}
	case h.created:
		return verdict{reason: reasonSlotLost, moved: true, detail: "the slot was gone and has been created again"}
	case h.slot != nil && h.slot.Confirmed > e.Confirmed:
		return verdict{
			reason: reasonSlotAhead, moved: true,
			detail: fmt.Sprintf("the slot stands at %s, beyond what was confirmed, %s: it was recreated, or moved by hand", h.slot.Confirmed, e.Confirmed),
		}
	case !h.crash.Equal(e.Crash):
		return verdict{
			reason: reasonCrash,
			detail: "the server has recovered from a crash: transactions committed asynchronously may have been seen and lost",
		}
	}
	return verdict{}
}

// next returns the epoch that follows a verdict.
func (e *evidence) next(v verdict, s system, now time.Time) cdc.Epoch {
	epoch := cdc.Epoch{System: s.id, Timeline: s.timeline}
	switch {
	case e != nil && v.moved:
		epoch.Counter = e.Epoch.Counter + 1
	case e != nil:
		epoch.Counter = e.Epoch.Counter
	case v.moved:
		// The counter is not known either. Seconds are larger than any number of gaps.
		epoch.Counter = uint32(now.Unix())
	}
	return epoch
}
