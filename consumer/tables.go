package consumer

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/cdc"
)

// truncations remembers which relations a TRUNCATE was decoded for: their files change without anything being lost.
type truncations struct {
	mu   sync.Mutex
	list []truncation // guarded by mu
}

type truncation struct {
	relation uint32
	at       time.Time // when it was decoded
}

// add notes a TRUNCATE.
func (t *truncations) add(relations []uint32, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range relations {
		t.list = append(t.list, truncation{relation: r, at: at})
	}
}

// relations returns all relations noted, and forgets those decoded before the given time.
func (t *truncations) relations(forget time.Time) []uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []uint32
	keep := t.list[:0]
	for _, x := range t.list {
		out = append(out, x.relation)
		if !x.at.Before(forget) {
			keep = append(keep, x)
		}
	}
	t.list = keep
	return out
}

// tableWatch is the state of the watch over tables that change without row events.
type tableWatch struct {
	read   time.Time // when prints was read
	prints map[cdc.TableName]*catalog.Fingerprint
	until  cdc.LSN // prints may be compared when the stream has come here; what it shows is decoded then
	xmax   uint64
}

// watchTables compares the tables' fingerprints with those kept, about every second, and declares a gap for a table that changed in a
// way that the stream does not tell.
func (s *session) watchTables(ctx context.Context, w *tableWatch) error {
	if w.prints == nil && time.Since(w.read) >= fingerprintInterval {
		if err := s.readTables(ctx, w); err != nil {
			return err
		}
	}
	if w.prints == nil || cdc.LSN(s.marked.Load()) < w.until {
		return nil
	}
	truncated := s.truncated.relations(w.read)
	var changed []cdc.TableName
	var details []string
	mend, adopted := false, false
	for _, t := range s.c.cfg.Tables {
		name := t.name()
		now := w.prints[name]
		kept := s.evidence.table(name)
		if kept == nil {
			changed, details = append(changed, name), append(details, name.String()+" (new)")
			s.evidence.setTable(t, now)
			mend = true // nothing to compare with says that it is published
			continue
		}
		before := *kept
		before.Filenodes = make(map[uint32]uint32, len(kept.Filenodes))
		for oid, node := range kept.Filenodes {
			before.Filenodes[oid] = node
		}
		before.AdoptFilenodes(now, truncated...)
		components := now.Changed(&before)
		if len(components) == 0 && len(kept.Changed(&before)) == 0 {
			continue
		}
		s.evidence.setTable(t, now)
		adopted = true
		var words []string
		for _, c := range components {
			if c == catalog.ComponentIdentity {
				continue // says nothing about contents
			}
			words = append(words, string(c))
			mend = mend || c == catalog.ComponentPublication || c == catalog.ComponentTable || c == catalog.ComponentInheritance
		}
		if len(words) > 0 {
			changed, details = append(changed, name), append(details, name.String()+" ("+strings.Join(words, ", ")+")")
		}
	}
	xmax := w.xmax
	w.prints = nil
	s.c.status.update(func(st *Status) { st.TablesAt = w.read })
	if len(changed) > 0 {
		v := verdict{reason: reasonTable, detail: "changed without row events: " + strings.Join(details, "; ")}
		if err := s.declareGap(ctx, newGap(v, changed, xmax)); err != nil {
			return err
		}
	} else if adopted {
		if err := s.store.save(ctx, s.evidence); err != nil {
			return err
		}
	}
	if mend {
		return s.mend(ctx)
	}
	return nil
}

// readTables reads the fingerprints and notes how far the stream has to come before they may be judged.
func (s *session) readTables(ctx context.Context, w *tableWatch) error {
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	w.read = time.Now()
	prints, err := catalog.Fingerprints(ctx, s.db, s.c.cfg.Publication, s.c.tableNames())
	if err != nil {
		return err
	}
	if _, w.xmax, err = straddlers(ctx, s.db); err != nil {
		return err
	}
	insert, _, err := catalog.Positions(ctx, s.db)
	if err != nil {
		return err
	}
	w.until = s.geometry.settle(insert)
	w.prints = prints
	return nil
}

// mend makes the publication fit again after somebody changed it, or tables of it. The consumer stops where it may not.
func (s *session) mend(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if _, err := s.c.publish(ctx, s.db); err != nil {
		return fmt.Errorf("mend publication: %w", err)
	}
	return nil
}
