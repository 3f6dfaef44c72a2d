package invalidator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/stream"
)

// beginning is where a reading starts and what has to be flushed first.
type beginning struct {
	written cache.Position // what TakeOver writes
	from    stream.Point   // where the reader begins
	holds   holds
	flush   *flush // nil for nothing
	// claim says that the position may move to from as soon as the flush is
	// done; otherwise it is there already, or nothing may be claimed yet.
	claim bool
}

// begin finds out what Redis holds and decides where to read on.
func (v *Invalidator) begin(ctx context.Context) (beginning, error) {
	// The end of the stream is looked up before Redis is: what is claimed
	// without having been read must have been visible, to every snapshot,
	// before the flush that covers it began and before Redis was seen empty.
	mark, marked, err := v.lastMark(ctx)
	if err != nil {
		return beginning{}, err
	}
	loaded, err := v.applier.Load(ctx)
	if err != nil {
		return beginning{}, err
	}
	fingerprint := v.fingerprint()
	if err := v.stream.SaveRules(ctx, fingerprint, v.rules.Canonical()); err != nil {
		return beginning{}, fmt.Errorf("%w: save the rules: %w", errNATS, err)
	}

	from, ok := pointOf(loaded.Position)
	if loaded.Verdict == cache.VerdictContinue && ok {
		b := beginning{written: loaded.Position, from: from}
		b.written.Owner = v.cfg.ID
		b.written.Removing = false // what the former owner did not end is done again
		if loaded.Position.Hold != 0 {
			b.holds, err = v.findHolds(ctx, from)
			if err != nil {
				return beginning{}, err
			}
			b.holds.lsn, b.holds.time = cdc.LSN(loaded.Position.Hold), loaded.Position.Time
			if len(b.holds.pending) == 0 {
				b.holds.unknown = true
			}
		}
		if loaded.Position.Rules != fingerprint {
			b.flush, err = v.changedRules(ctx, loaded.Position.Rules)
			if err != nil {
				return beginning{}, err
			}
			b.claim = true
		}
		return b, nil
	}

	// Nothing is known of what Redis was told. A position that claims nothing
	// is written first, so that a crash during the flush ends here again.
	b := beginning{written: cache.Position{Owner: v.cfg.ID, Rules: fingerprint}}
	if !marked {
		// Nothing to claim and nothing to read: the stream's first start will
		// ask for the flush.
		return b, nil
	}
	b.from, b.claim = mark, true
	b.holds, err = v.findHolds(ctx, mark)
	if err != nil {
		return beginning{}, err
	}
	if len(b.holds.pending) > 0 {
		b.holds.lsn = nothing
	}
	b.flush = newFlush("the position is lost", v.rules.CoverageAll())
	if loaded.Verdict == cache.VerdictEmpty {
		b.flush.reason = "first start"
		return b, nil
	}
	v.emit("redis_rollback", "Redis has keys but no position of this instance: the coverage of every rule is flushed", map[string]any{"detail": loaded.Detail})
	return b, nil
}

// fingerprint names what a position is moved with: the rules, and what the cache
// puts before the keys that they name.
func (v *Invalidator) fingerprint() string {
	rules := v.rules.Fingerprint()
	if v.cfg.Prefix == "" {
		return rules
	}
	sum := sha256.Sum256([]byte(v.cfg.Prefix))
	return rules + "-" + hex.EncodeToString(sum[:8])
}

// samePrefix reports whether two fingerprints are of rules under one prefix. The
// same rules under another name other keys.
func samePrefix(a, b string) bool {
	_, before, _ := strings.Cut(a, "-")
	_, now, _ := strings.Cut(b, "-")
	return before == now
}

// changedRules is the flush of every rule that the position was not moved
// with, word for word.
func (v *Invalidator) changedRules(ctx context.Context, old string) (*flush, error) {
	var f *flush
	var text []byte
	var found bool
	var err error
	if old != "" && samePrefix(old, v.fingerprint()) { // empty where masters disagree
		text, found, err = v.stream.Rules(ctx, old)
	}
	if err != nil && !errors.Is(err, jetstream.ErrInvalidKey) {
		return nil, fmt.Errorf("%w: read the rules %s: %w", errNATS, old, err)
	}
	if found {
		targets, err := v.rules.CoverageChanged(text)
		if err == nil {
			f = newFlush("rules changed", targets)
		} else {
			v.log.Warn("the rules that the position was moved with cannot be read: flushing the coverage of every rule", "error", err)
		}
	}
	if f == nil {
		f = newFlush("rules changed", v.rules.CoverageAll())
	}
	v.emit("rules_changed", "the rules differ from those the position was moved with; what changed is flushed", map[string]any{
		"old": old, "new": v.fingerprint(), "patterns": f.patterns, "keys": f.keys, "known": found,
	})
	return f, nil
}
