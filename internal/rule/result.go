package rule

import "github.com/freshet-dev/freshet/internal/cdc"

// Result is what a batch invalidates. Its slices are valid until the
// evaluator's next Reset; the strings in them stay valid.
type Result struct {
	Keys      []string
	Patterns  []string
	Tags      []string
	AllTags   bool // a widened tag: bump the epoch of all tags
	Warm      []WarmTask
	Changes   int     // row changes seen
	ByRule    []Count // per rule index: keys, patterns, tags produced (before dedupe)
	Nulls     int     // targets skipped because a placeholder was NULL
	Widened   int     // row changes of which something was not known exactly
	LostOld   int     // of these, for want of an old value that the replica identity had when the rules were compiled
	RowErrors []RowError
}

// Count counts what a rule produced.
type Count struct{ Keys, Patterns, Tags int }

// RowError is a row of which something could not be evaluated. It has been
// widened; the error says why.
type RowError struct {
	Table  cdc.TableName
	Rule   string
	Reason string // holds no values of the row
	Index  int    // index of the change in its message
}

// WarmTask asks for a refill of Key.
type WarmTask struct {
	Rule int
	Warm int // index into the rule's Warm
	Key  string
	Args []string // parameters of the warm query, in text form
	Null []bool   // which of Args are NULL; nil for none
}
