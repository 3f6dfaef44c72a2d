package invalidator

import (
	"context"
	"net/url"
	"strings"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/stream"
)

// gap flushes what a declared gap may have touched, before the position moves
// over its message, and notes it for the hold.
func (in *intake) gap(b *batch, item *stream.Item) {
	g := item.Gap
	turn := "/first"
	if g.Final {
		turn = "/final"
	}
	// A session repeats the message until the position has passed it. The
	// flush that this reading began came after the cause as well, and a
	// position cannot overtake it.
	if _, done := in.flushed[g.ID+turn]; !done {
		in.flushed[g.ID+turn] = struct{}{}
		var targets []rule.Target
		if len(g.Tables) == 0 {
			targets = in.v.rules.CoverageAll()
		}
		for _, table := range g.Tables {
			targets = append(targets, in.v.rules.Coverage(table)...)
		}
		f := newFlush("gap: "+g.Reason+turn, targets)
		f.below, f.epoch = g.LSN, g.Epoch
		b.flushes = append(b.flushes, f)
	}
	// Also behind a break: the position may later be adopted from beyond it.
	// Holding too early believes too little, which does no harm.
	b.gaps = append(b.gaps, gapNote{
		id: g.ID, final: g.Final, all: len(g.Tables) == 0, before: in.last,
		sameEpoch: in.last.Epoch == g.Epoch && in.last.LSN != 0,
	})
}

// poison widens a message that cannot be read to everything that depends on
// its table, and keeps a copy with the reason.
func (in *intake) poison(ctx context.Context, b *batch, item *stream.Item, reason string) {
	table := tableOf(in.v.stream.Subjects(), item.Subject)
	b.evaluator.Widen(table)
	b.poisoned = true
	in.dead.letter(ctx, table, reason, item.Data)
}

// tableOf reads the table from a change message's subject. The zero name
// stands for any table.
func tableOf(subjects cdc.Subjects, subject string) cdc.TableName {
	rest, ok := strings.CutPrefix(subject, "freshet."+subjects.Name+".changes.")
	if !ok {
		return cdc.TableName{}
	}
	schema, table, ok := strings.Cut(rest, ".")
	if !ok || strings.Contains(table, ".") {
		return cdc.TableName{}
	}
	name := cdc.TableName{Schema: untoken(schema), Table: untoken(table)}
	// Only what encodes to this very subject is the table that it names.
	if subjects.Changes(name.Schema, name.Table) != subject {
		return cdc.TableName{}
	}
	return name
}

func untoken(token string) string {
	if token == "%" {
		return ""
	}
	text, err := url.PathUnescape(token)
	if err != nil {
		return token
	}
	return text
}
