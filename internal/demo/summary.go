package demo

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// Summary is what the demo found. It is the JSON of `freshet demo -o json`.
type Summary struct {
	Seconds   float64    `json:"seconds"`
	Commits   int64      `json:"commits"`      // transactions that the writers committed
	Changes   int        `json:"changes"`      // row changes that reached the invalidator
	Removed   int        `json:"keys_removed"` // values that were in the cache and were removed
	P50       float64    `json:"commit_to_removed_p50_ms"`
	P99       float64    `json:"commit_to_removed_p99_ms"`
	Max       float64    `json:"commit_to_removed_max_ms"`
	Hits      int64      `json:"hits"`
	Misses    int64      `json:"misses"`
	Refused   int64      `json:"refused_fills"`      // fills that lost a race against an invalidation, and were not stored
	Warmed    int64      `json:"warmed_keys"`        // keys that the warmer filled again
	Voided    int64      `json:"refused_warm_fills"` // the like of refused fills, of the warmer
	Tokens    int64      `json:"tokens"`             // taken after a change, and given to the read that followed
	Waited    int64      `json:"tokens_waited_for"`  // of these, waited for before the read
	OwnCached int64      `json:"own_writes_from_cache"`
	OwnLoaded int64      `json:"own_writes_from_database"`
	OwnMissed int64      `json:"own_writes_missed"` // reads with a token that were older than it
	Compared  int        `json:"compared"`          // cached values compared with the database at the end
	Stale     int        `json:"stale"`
	Examples  []Mismatch `json:"examples,omitempty"` // at most ten of the stale ones
	Store     string     `json:"store"`              // redis or memory
}

// percentile returns the value below which the share q of the sorted samples
// lies (nearest rank); zero for none.
func percentile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(q*float64(len(sorted))+0.999999) - 1
	return sorted[min(max(rank, 0), len(sorted)-1)]
}

func (s *Summary) setLatency(samples []time.Duration) {
	slices.Sort(samples)
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	s.P50, s.P99 = ms(percentile(samples, 0.5)), ms(percentile(samples, 0.99))
	s.Max = ms(percentile(samples, 1))
}

// print writes the summary for people.
func (s *Summary) print(out io.Writer, colour bool) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(table, "  "+name+"\t"+format+"\n", args...) }
	fmt.Fprintln(table)
	row("ran for", "%.1f s, cache in %s", s.Seconds, s.Store)
	row("changes", "%d rows in %d commits", s.Changes, s.Commits)
	row("keys removed", "%d", s.Removed)
	row("commit to removal", "p50 %.2f ms   p99 %.2f ms   max %.2f ms", s.P50, s.P99, s.Max)
	hitRate := 0.0
	if reads := s.Hits + s.Misses; reads > 0 {
		hitRate = 100 * float64(s.Hits) / float64(reads)
	}
	row("reads", "%d hits, %d misses (%.1f %% hits)", s.Hits, s.Misses, hitRate)
	row("refused fills", "%d (would have been stale: the row changed while it was being loaded)", s.Refused)
	row("warmed keys", "%d filled again before anybody asked (%d fills refused)", s.Warmed, s.Voided)
	row("own writes", "%d tokens (%d waited for), read back: %d from the cache, %d from the database, %d older than written",
		s.Tokens, s.Waited, s.OwnCached, s.OwnLoaded, s.OwnMissed)
	row("compared", "%d cached values with the database", s.Compared)
	if err := table.Flush(); err != nil {
		return err
	}
	good, bad, plain := "", "", ""
	if colour {
		good, bad, plain = "\x1b[1;32m", "\x1b[1;31m", "\x1b[0m"
	}
	if s.Stale > 0 {
		good = bad
	}
	if _, err := fmt.Fprintf(out, "  %sstale: %d%s\n", good, s.Stale, plain); err != nil {
		return err
	}
	for _, m := range s.Examples {
		if _, err := fmt.Fprintf(out, "    %s\n      cached    %s\n      database  %s\n", m.Key, m.Cached, m.Database); err != nil {
			return err
		}
	}
	return nil
}
