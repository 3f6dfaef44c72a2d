package rule

import (
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// SKELETON: signatures agreed between packages; the owner spreads them over files and removes this one.

// Config is one rule as written. The YAML names are those of freshet.yaml.
type Config struct {
	Table      string   `yaml:"table"`
	Name       string   `yaml:"name"`
	Ops        []string `yaml:"ops"`
	Changed    []string `yaml:"changed"`
	Lookup     string   `yaml:"lookup"`
	Invalidate []string `yaml:"invalidate"`
	Tags       []string `yaml:"tags"`
	Immutable  []string `yaml:"immutable"`
	Old        string   `yaml:"old"`     // require | widen; default require
	Publish    string   `yaml:"publish"` // "" | all
	Bulk       int64    `yaml:"bulk"`    // rows of one transaction; 0: the invalidator's
	Warm       []Warm   `yaml:"warm"`
}

// Warm is a query that refills a key.
type Warm struct {
	Key     string        `yaml:"key"`
	SQL     string        `yaml:"sql"`
	TTL     time.Duration `yaml:"ttl"`
	Only    string        `yaml:"only"`    // cached | always; default cached
	Missing string        `yaml:"missing"` // remove | absent; default remove
}

// Schema is what the compiler needs to know of the database. nil: compile without it (syntax only).
type Schema interface {
	Table(schema, name string) (*Table, bool)
	Tables() []cdc.TableName // for the nearest valid name
}

// Table describes a table (for a partitioned one: the root; identity facts hold for every leaf, worst case).
type Table struct {
	Schema, Name string
	Columns      []Column
	// Identity is "default" (primary key), "index", "full" or "nothing"; IdentityColumns are its columns (empty for full and nothing).
	// For a partitioned table: what every leaf supports, and Leaf names one that supports least.
	Identity        string
	IdentityColumns []string
	Leaf            string
	Unique          []Index // unique, non-partial, non-deferrable indexes on NOT NULL columns: usable by REPLICA IDENTITY USING INDEX
	PrimaryKey      []string
}

type Column struct {
	Name      string
	Type      string // regtype text
	NotNull   bool
	Generated bool // stored generated: not sent by servers before 18 / without publish_generated_columns
	Sent      bool // false: the server does not send it
}

type Index struct {
	Name    string
	Columns []string
}

// Error is one mistake in the rules. Path is like "rules[0].invalidate[2]"; Offset is the byte offset inside that scalar.
type Error struct {
	Path    string
	Offset  int
	Message string // what is wrong
	Remedy  string // nearest valid name, or the SQL that fixes it; "" for none
}

func (e *Error) Error() string { panic("skeleton") }

// Errors is every mistake found.
type Errors []*Error

func (e Errors) Error() string { panic("skeleton") }

// Set is a compiled rule set; safe for concurrent use.
type Set struct{}

// Compile compiles rules; the error is an Errors with all mistakes. Warnings (such as targets without a literal prefix are errors; lookups that read tables without rules are warnings) come from Warnings.
func Compile(rules []Config, schema Schema) (*Set, error) { panic("skeleton") }

// Need is what must be published of a table.
type Need struct {
	Table   cdc.TableName
	Columns []string // sorted
	All     bool
	Ops     []cdc.Op
	Bulk    int64
}

func (s *Set) Needs() []Need       { panic("skeleton") }
func (s *Set) Fingerprint() string { panic("skeleton") } // of the canonical text
func (s *Set) Canonical() []byte   { panic("skeleton") } // stored in KV by fingerprint; ParseCanonical reads it
func (s *Set) Names() []string     { panic("skeleton") } // rule names by index

// Coverage returns the patterns and tag patterns of all rules of the table; CoverageAll of every rule.
func (s *Set) Coverage(table cdc.TableName) []Target { panic("skeleton") }
func (s *Set) CoverageAll() []Target                 { panic("skeleton") }

// CoverageChanged returns the coverage of every rule (on either side) that is not word for word in the other set.
func (s *Set) CoverageChanged(old []byte) ([]Target, error) { panic("skeleton") }

// TargetKind is what a target removes.
type TargetKind uint8

const (
	KeyTarget     TargetKind = iota // Text is an exact key
	PatternTarget                   // Text is a Redis glob, values escaped
	TagTarget                       // Text is an exact tag
	TagPattern                      // Text is a glob over tags (widened tag): bump the epoch of all tags
)

// Target is something to invalidate.
type Target struct {
	Kind TargetKind
	Text string
	Rule int // index of the rule
}

// Lookup is a query a message needs before it can be evaluated.
type Lookup struct {
	Rule int
	SQL  string   // with $1…, placeholders bound
	Args []string // text form; with nil-able Null
	Null []bool
}

// LookupResults answers lookups: rows of named text columns.
type LookupResults interface {
	Rows(l Lookup) (rows []cdc.Row, err error)
}

// Evaluator turns messages into targets, deduplicated over everything added since Reset. One goroutine.
type Evaluator struct{}

func (s *Set) Evaluator() *Evaluator { panic("skeleton") }

// Lookups appends the distinct lookups that m needs.
func (e *Evaluator) Lookups(m *cdc.Message, dst []Lookup) []Lookup { panic("skeleton") }

// Add evaluates m. A row that cannot be evaluated is widened and recorded in RowErrors.
func (e *Evaluator) Add(m *cdc.Message, lookups LookupResults) { panic("skeleton") }

// Widen adds the whole coverage of a table (undecodable message), or of everything with a zero name.
func (e *Evaluator) Widen(table cdc.TableName) { panic("skeleton") }
func (e *Evaluator) Result() *Result           { panic("skeleton") }
func (e *Evaluator) Reset()                    { panic("skeleton") }

// Result is what a batch invalidates.
type Result struct {
	Keys      []string
	Patterns  []string
	Tags      []string
	AllTags   bool // a widened tag: bump the epoch of all tags
	Warm      []WarmTask
	Changes   int     // row changes seen
	ByRule    []Count // per rule index: keys, patterns, tags produced (before dedupe)
	Nulls     int     // targets skipped because a placeholder was NULL
	Widened   int     // rows widened
	RowErrors []RowError
}

type Count struct{ Keys, Patterns, Tags int }

type RowError struct {
	Table  cdc.TableName
	Rule   string
	Reason string
	Index  int // index of the change in its message
}

// WarmTask asks for a refill of Key.
type WarmTask struct {
	Rule int
	Warm int // index into the rule's Warm
	Key  string
	Args []string
}

// Explain evaluates one message and says why each target came out.
func (s *Set) Explain(m *cdc.Message, lookups LookupResults) []Explanation { panic("skeleton") }

type Explanation struct {
	Rule     string `json:"rule"`
	Kind     string `json:"kind"` // key, pattern, tag, none
	Target   string `json:"target,omitempty"`
	Template string `json:"template,omitempty"`
	Why      string `json:"why"` // "from the old row", "updates count only when … changed", …
}
