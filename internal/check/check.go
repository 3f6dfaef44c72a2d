package check

import (
	"context"
	"sync"
	"time"

	"github.com/freshet-dev/freshet/cache"
	"github.com/freshet-dev/freshet/internal/rule"
	"github.com/freshet-dev/freshet/internal/stream"
)

// patience bounds what one server may take to answer everything asked of it.
const patience = 30 * time.Second

// Config says what to check.
type Config struct {
	// Name is the instance's name. Required.
	Name string
	// PostgresURL is the connection string of the primary. Required.
	PostgresURL string
	// Slot and Publication are their names. Required.
	Slot, Publication string
	// Manage is whether the consumer may create and alter both.
	Manage bool
	// MaxWAL is how many bytes of WAL the slot may retain.
	MaxWAL int64
	// Stream says how to reach NATS.
	Stream stream.Config
	// CacheURL is the Redis to keep fresh. Required.
	CacheURL string
	// Applier configures how coverage is matched.
	Applier cache.ApplierConfig
	// Compile compiles the rules against a schema, or without one when it is
	// nil, which must succeed. Required.
	Compile func(rule.Schema) Compiled
}

// Compiled is what came of compiling the rules.
type Compiled struct {
	Set      *rule.Set // nil when there are mistakes
	Mistakes []Mistake
	Warnings []Mistake
}

// Mistake is one thing wrong with a rule.
type Mistake struct {
	Where   string // file, line and column
	Message string
	Remedy  string
	SQL     string // the statement that fixes it, when it is fixed in the database
}

// Run checks everything. It changes nothing that lasts: statements that would
// be run by the service are only said, and what it tries leaves a few bytes in
// the WAL, a slot that ends with it, and no key.
func Run(ctx context.Context, cfg Config) *Report {
	syntax := cfg.Compile(nil)
	report := &Report{}
	if syntax.Set == nil {
		rules := section{area: "rules"}
		for _, m := range syntax.Mistakes {
			rules.fail("rules", m.Where+": "+m.Message, m.Remedy)
		}
		report.Lines, report.Invalid = rules.lines, true
		return report
	}

	database := postgresCheck{cfg: cfg, set: syntax.Set, server: section{area: "postgres"}, rules: section{area: "rules"}, publishing: section{area: "postgres"}}
	nats := natsCheck{cfg: cfg.Stream, maxWAL: cfg.MaxWAL, section: section{area: "nats"}}
	redis := redisCheck{cfg: cfg, set: syntax.Set, section: section{area: "cache"}}
	var wait sync.WaitGroup
	for _, run := range []func(context.Context){database.run, nats.run, redis.run} {
		wait.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			run(ctx)
		})
	}
	wait.Wait()
	for _, s := range []section{database.server, database.rules, database.publishing, nats.section, redis.section} {
		report.Lines = append(report.Lines, s.lines...)
	}
	report.Invalid = database.invalid
	return report
}
