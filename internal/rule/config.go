package rule

import "time"

// The values of Config.Old.
const (
	// OldRequire refuses the rule when a placeholder's old value is not available.
	OldRequire = "require"
	// OldWiden renders a placeholder whose old value is not available as "*".
	OldWiden = "widen"
)

// PublishAll as Config.Publish publishes every column of the table.
const PublishAll = "all"

// The values of Warm.Only and Warm.Missing.
const (
	OnlyCached    = "cached" // refill keys that were present when they were removed
	OnlyAlways    = "always" // fill the key whether it was present or not
	MissingRemove = "remove" // no row: leave the key removed
	MissingAbsent = "absent" // no row: remember that there is none
)

// Config is one rule as written. The YAML names are those of freshet.yaml.
type Config struct {
	// Table is schema.table, matched exactly, case included; public if the
	// schema is omitted. Parts that contain a dot are quoted: "my.schema"."Order".
	Table string `yaml:"table"`
	// Name is the label in metrics and explanations. Defaults to the table.
	Name string `yaml:"name"`
	// Ops lists the operations that count: insert, update, delete, truncate.
	// Defaults to all four.
	Ops []string `yaml:"ops"`
	// Changed lists columns; an update counts only when one of them changed.
	// Defaults to any.
	Changed []string `yaml:"changed"`
	// Lookup is a query that adds columns for the templates. Defaults to none.
	Lookup string `yaml:"lookup"`
	// Invalidate lists templates of keys and patterns.
	Invalidate []string `yaml:"invalidate"`
	// Tags lists templates of tags.
	Tags []string `yaml:"tags"`
	// Immutable lists columns declared never to change: their old value is
	// their new value.
	Immutable []string `yaml:"immutable"`
	// Old says what to do where an old value is not available: require or
	// widen. Defaults to require.
	Old string `yaml:"old"`
	// Publish "all" publishes every column; "" those that rules need.
	Publish string `yaml:"publish"`
	// Bulk is the number of rows of one transaction beyond which the table is
	// invalidated as a whole. Zero means the invalidator's setting.
	Bulk int64 `yaml:"bulk"`
	// Warm lists queries that refill keys.
	Warm []Warm `yaml:"warm"`
}

// Warm is a query that refills a key.
type Warm struct {
	// Key is the template of the key. It may not be a pattern.
	Key string `yaml:"key"`
	// SQL gives the value; its placeholders become bound parameters.
	SQL string `yaml:"sql"`
	// TTL is the lifetime of the filled value. It must be positive.
	TTL time.Duration `yaml:"ttl"`
	// Only is cached or always. Defaults to cached.
	Only string `yaml:"only"`
	// Missing says what no row means: remove or absent. Defaults to remove.
	Missing string `yaml:"missing"`
}
