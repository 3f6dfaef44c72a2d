package invalidator

import (
	"slices"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/rule"
)

// flush is the coverage of some rules that has to be removed for a reason.
type flush struct {
	reason   string
	patterns []string
	keys     []string
	tags     []string
	allTags  bool

	// below is beyond every commit LSN that it stands for: a fill from a standby
	// that has not replayed as much may be what is being flushed. Zero for none.
	below cdc.LSN
	epoch cdc.Epoch // of below

	// finished is called by the flusher when the patterns are gone. It may be
	// nil and must not block.
	finished func()
}

// newFlush sorts targets by what removes them.
func newFlush(reason string, targets []rule.Target) *flush {
	f := &flush{reason: reason}
	for _, t := range targets {
		switch t.Kind {
		case rule.KeyTarget:
			f.keys = append(f.keys, t.Text)
		case rule.PatternTarget:
			f.patterns = append(f.patterns, t.Text)
		case rule.TagTarget:
			f.tags = append(f.tags, t.Text)
		case rule.TagPattern:
			f.allTags = true
		}
	}
	f.patterns = distinct(f.patterns)
	f.keys = distinct(f.keys)
	f.tags = distinct(f.tags)
	return f
}

func distinct(s []string) []string {
	slices.Sort(s)
	return slices.Compact(s)
}
