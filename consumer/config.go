package consumer

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"regexp"
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// Confirm says which effect of a transaction lets Postgres forget it.
type Confirm uint8

const (
	// Applied confirms a transaction once the invalidator has applied it: Postgres keeps everything that Redis has not.
	Applied Confirm = iota
	// Published confirms a transaction once the stream has stored it durably.
	Published
)

// String returns the word used in the configuration.
func (c Confirm) String() string {
	if c == Published {
		return "published"
	}
	return "applied"
}

const (
	defaultHeartbeat    = 10 * time.Second
	defaultMarkInterval = 100 * time.Millisecond
	defaultChunk        = 256
)

// DefaultMaxWAL is the default of Config.MaxWAL, in bytes.
const DefaultMaxWAL = 8 << 30

// Config says what to read from Postgres and how to confirm it.
type Config struct {
	// Name is the instance's name: letters, digits, underscore and hyphen. Required.
	Name string
	// URL is the connection string of the primary. The role needs LOGIN and REPLICATION, membership in
	// pg_read_all_stats, and SELECT on the tables. Required.
	URL string
	// Slot is the replication slot. Defaults to "freshet_" and the name, with what a slot's name cannot hold replaced by "_".
	Slot string
	// Publication is the publication. Defaults to the same name as the slot's default.
	Publication string
	// Manage lets the consumer create and alter publication and slot. When false it stops with the SQL to run.
	Manage bool
	// Confirm says when Postgres may forget a transaction. The zero value is Applied.
	Confirm Confirm
	// MaxWAL is how many bytes of WAL the slot may retain before the governor gives up waiting for the invalidator. Defaults to 8 GiB.
	MaxWAL int64
	// Heartbeat is how often a message is written into an otherwise idle WAL, to see it come back. Defaults to 10s.
	Heartbeat time.Duration
	// MarkInterval is how often a mark is published while nothing flows. Defaults to 100ms.
	MarkInterval time.Duration
	// Chunk is the number of rows in a message at most. Defaults to 256.
	Chunk int
	// Tables are the tables to publish and the columns needed of each. At least one is required.
	Tables []Table
	// Logger defaults to discarding everything.
	Logger *slog.Logger

	hooks hooks
}

// Table is what must be published of one table.
type Table struct {
	// Schema and Name are spelled as in the catalog. A partitioned table is named by its root.
	Schema, Name string
	// Columns are the columns that messages carry.
	Columns []string
	// All publishes every column that the server sends.
	All bool
	// Ops are the operations that are published. Empty means all four.
	Ops []cdc.Op
	// Bulk is the number of the table's rows in one transaction beyond which one bulk change is published
	// instead of the rest. Zero means never.
	Bulk int64
}

func (t Table) name() cdc.TableName { return cdc.TableName{Schema: t.Schema, Table: t.Name} }

// hooks switch mechanisms off, so that tests can show that they are what keeps the promise.
type hooks struct {
	gateOff bool // publish without waiting for visibility
}

var (
	validName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	validSlot = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)
)

// withDefaults returns cfg with every zero value replaced.
func (cfg Config) withDefaults() Config {
	if cfg.Slot == "" {
		cfg.Slot = slotName(cfg.Name)
	}
	if cfg.Publication == "" {
		cfg.Publication = slotName(cfg.Name)
	}
	if cfg.MaxWAL == 0 {
		cfg.MaxWAL = DefaultMaxWAL
	}
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = defaultHeartbeat
	}
	if cfg.MarkInterval == 0 {
		cfg.MarkInterval = defaultMarkInterval
	}
	if cfg.Chunk == 0 {
		cfg.Chunk = defaultChunk
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return cfg
}

// slotName makes a replication slot's name, which holds lower case letters, digits and underscores only.
func slotName(name string) string {
	out := []byte("freshet_" + name)
	for i, c := range out {
		switch {
		case c >= 'A' && c <= 'Z':
			out[i] = c + 'a' - 'A'
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		default:
			out[i] = '_'
		}
	}
	return string(out[:min(len(out), 63)])
}

// validate reports every mistake at once.
func (cfg Config) validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
	if !validName.MatchString(cfg.Name) {
		bad("name", "%q: want letters, digits, _ and -", cfg.Name)
	}
	if cfg.URL == "" {
		bad("postgres.url", "is required")
	}
	if !validSlot.MatchString(cfg.Slot) {
		bad("postgres.slot", "%q: want at most 63 lower case letters, digits and _", cfg.Slot)
	}
	if cfg.Publication == "" || len(cfg.Publication) > 63 {
		bad("postgres.publication", "%q: want 1 to 63 bytes", cfg.Publication)
	}
	if cfg.Confirm > Published {
		bad("postgres.confirm", "want applied or published")
	}
	if cfg.MaxWAL < 0 {
		bad("postgres.max_wal", "%d: want a positive number of bytes", cfg.MaxWAL)
	}
	if cfg.Heartbeat < 0 {
		bad("postgres.heartbeat", "%s: want a positive duration", cfg.Heartbeat)
	}
	if cfg.MarkInterval < 0 {
		bad("postgres.mark_interval", "%s: want a positive duration", cfg.MarkInterval)
	}
	if cfg.Chunk < 0 || cfg.Chunk > math.MaxInt16 {
		bad("postgres.chunk", "%d: want 1 to %d rows", cfg.Chunk, math.MaxInt16)
	}
	if len(cfg.Tables) == 0 {
		bad("tables", "at least one is required")
	}
	seen := make(map[cdc.TableName]bool)
	for i, t := range cfg.Tables {
		name := cdc.TableName{Schema: t.Schema, Table: t.Name}
		switch {
		case t.Schema == "" || t.Name == "":
			bad(fmt.Sprintf("tables[%d]", i), "schema and name are required")
		case seen[name]:
			bad(fmt.Sprintf("tables[%d]", i), "%s is listed twice", name)
		}
		seen[name] = true
	}
	return errors.Join(errs...)
}
