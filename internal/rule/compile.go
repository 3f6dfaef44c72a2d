package rule

import (
	"fmt"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// Compile compiles rules. The error is an Errors with every mistake. A nil
// schema checks the syntax only.
func Compile(rules []Config, schema Schema) (*Set, error) {
	c := &compiler{schema: schema, set: &Set{tables: map[cdc.TableName]*tablePlan{}}}
	for i := range rules {
		c.rule(i, &rules[i])
	}
	c.names(rules)
	c.identities()
	if len(c.errs) > 0 {
		return nil, c.errs
	}
	return c.set, nil
}

type compiler struct {
	schema Schema
	set    *Set
	errs   Errors
	olds   []oldNeed
}

// ruleCompiler compiles one rule. table is nil without a schema and for an
// unknown table.
type ruleCompiler struct {
	*compiler
	rule  *compiledRule
	cfg   *Config
	path  string
	plan  *tablePlan
	table *Table
}

func (c *compiler) fail(path string, m mistake) {
	c.errs = append(c.errs, &Error{Path: path, Offset: m.offset, Length: m.length, Message: m.message, Remedy: m.remedy})
}

func (c *compiler) warn(path, message, remedy string) {
	c.set.warnings = append(c.set.warnings, &Error{Path: path, Message: message, Remedy: remedy})
}

func (c *compiler) rule(index int, cfg *Config) {
	r := &compiledRule{index: index, name: cfg.Name, widen: cfg.Old == OldWiden, all: cfg.Publish == PublishAll, bulk: cfg.Bulk}
	rc := &ruleCompiler{compiler: c, rule: r, cfg: cfg, path: fmt.Sprintf("rules[%d]", index)}
	c.set.rules = append(c.set.rules, r)
	rc.findTable()
	rc.words()
	rc.ops()
	rc.columnLists()
	rc.compileLookup()
	rc.targets()
	rc.warms()
	if len(r.targets) == 0 && !r.all && len(cfg.Warm) == 0 && len(cfg.Invalidate)+len(cfg.Tags) == 0 {
		c.fail(rc.path, mistake{message: "the rule invalidates nothing", remedy: "add invalidate or tags"})
	}
	r.canonical = canonicalOf(r, cfg)
	for _, w := range r.warm {
		w.ID = w.id(r.canonical)
	}
}

func (rc *ruleCompiler) findTable() {
	name, err := ParseTable(rc.cfg.Table)
	if err != nil {
		message, remedy := err.Error(), ""
		if rc.cfg.Table == "" {
			message, remedy = "the rule names no table", "add table: schema.table"
		}
		rc.fail(rc.path+".table", mistake{length: len(rc.cfg.Table), message: message, remedy: remedy})
	} else if rc.schema != nil {
		if table, ok := rc.schema.Table(name.Schema, name.Table); ok {
			rc.table = table
		} else {
			var known []string
			for _, t := range rc.schema.Tables() {
				known = append(known, formatTable(t))
			}
			slices.Sort(known)
			rc.fail(rc.path+".table", mistake{
				length:  len(rc.cfg.Table),
				message: "there is no table " + quoteText(rc.cfg.Table), remedy: didYouMean(formatTable(name), known),
			})
		}
	}
	rc.rule.table = name
	plan := rc.set.tables[name]
	if plan == nil {
		plan = &tablePlan{table: name, byName: map[string]int{}}
		rc.set.tables[name] = plan
	}
	plan.rules = append(plan.rules, rc.rule)
	rc.plan = plan
}

// words checks the settings that are one of a few words, and the numbers.
func (rc *ruleCompiler) words() {
	rc.word(rc.path+".old", rc.cfg.Old, OldRequire, OldWiden)
	rc.word(rc.path+".publish", rc.cfg.Publish, PublishAll)
	if rc.cfg.Bulk < 0 {
		rc.fail(rc.path+".bulk", mistake{message: "the number of rows cannot be negative", remedy: "0 means the invalidator's"})
	}
}

func (c *compiler) word(path, word string, valid ...string) {
	if word != "" && !slices.Contains(valid, word) {
		c.fail(path, mistake{length: len(word), message: "unknown value " + quoteText(word), remedy: didYouMean(word, valid)})
	}
}

var allOps = []cdc.Op{cdc.Insert, cdc.Update, cdc.Delete, cdc.Truncate}

func (rc *ruleCompiler) ops() {
	words := []string{string(cdc.Insert), string(cdc.Update), string(cdc.Delete), string(cdc.Truncate)}
	for i, word := range rc.cfg.Ops {
		path := fmt.Sprintf("%s.ops[%d]", rc.path, i)
		switch {
		case !slices.Contains(words, word):
			rc.fail(path, mistake{length: len(word), message: "unknown operation " + quoteText(word), remedy: didYouMean(word, words)})
		case slices.Contains(rc.rule.ops, cdc.Op(word)):
			rc.fail(path, mistake{length: len(word), message: "operation " + word + " is listed twice"})
		default:
			rc.rule.ops = append(rc.rule.ops, cdc.Op(word))
		}
	}
	if len(rc.cfg.Ops) == 0 {
		rc.rule.ops = allOps
	}
	rc.rule.moves = rc.table != nil && rc.table.Partitioned && slices.Contains(rc.rule.ops, cdc.Update)
}

func (rc *ruleCompiler) columnLists() {
	var unknown []string
	for i, name := range rc.cfg.Changed {
		path := fmt.Sprintf("%s.changed[%d]", rc.path, i)
		if rc.tableColumn(path, 0, len(name), name) {
			rc.rule.changed = append(rc.rule.changed, rc.plan.slot(name))
			if rc.table != nil && !rc.table.identifies(name) {
				unknown = append(unknown, name)
			}
		}
	}
	if len(unknown) > 0 {
		rc.warn(rc.path+".changed", "the old value of "+strings.Join(unknown, " and ")+" is not in the replica identity: every UPDATE counts as a change of it",
			"give "+formatTable(rc.rule.table)+" REPLICA IDENTITY FULL, or remove changed")
	}
	if len(rc.cfg.Changed) > 0 && !rc.rule.counts(cdc.Update) {
		rc.fail(rc.path+".changed", mistake{message: "changed says which updates count, but ops has no update", remedy: "remove it, or add update to ops"})
	}
	for i, name := range rc.cfg.Immutable {
		path := fmt.Sprintf("%s.immutable[%d]", rc.path, i)
		if rc.tableColumn(path, 0, len(name), name) && slices.Contains(rc.cfg.Changed, name) {
			rc.fail(path, mistake{length: len(name), message: quoteText(name) + " is declared never to change, and listed in changed"})
		}
	}
}

// tableColumn reports whether the table has the column and the server sends
// it. Without a schema any name will do.
func (rc *ruleCompiler) tableColumn(path string, offset, length int, name string) bool {
	if name == "" {
		rc.fail(path, mistake{offset, length, "a column name is empty", ""})
		return false
	}
	if rc.table == nil {
		return true
	}
	column, ok := rc.table.column(name)
	if !ok {
		rc.fail(path, mistake{
			offset, length, fmt.Sprintf("table %s has no column %s", formatTable(rc.rule.table), quoteText(name)),
			didYouMean(name, rc.table.columnNames()),
		})
		return false
	}
	if column.Generated && !column.Sent {
		rc.fail(path, mistake{
			offset, length, fmt.Sprintf("column %s is generated and the server does not send it", quoteText(name)),
			"use the columns that it is computed from, store it in an ordinary column, or (Postgres 18) set publish_generated_columns = stored on the publication",
		})
		return false
	}
	return true
}

func (rc *ruleCompiler) compileLookup() {
	if strings.TrimSpace(rc.cfg.Lookup) == "" {
		if rc.cfg.Lookup != "" {
			rc.fail(rc.path+".lookup", mistake{message: "the query is empty"})
		}
		return
	}
	path := rc.path + ".lookup"
	q, mistakes := parseQuery(rc.cfg.Lookup)
	for _, m := range mistakes {
		rc.fail(path, m)
	}
	rc.rule.lookup = &q
	if len(mistakes) == 0 && len(q.holes) == 0 {
		rc.fail(path, mistake{message: "the lookup does not depend on the row", remedy: "add a condition such as where id = {id}"})
	}
	for _, h := range q.holes {
		if h.image != anyImage {
			rc.fail(path, mistake{h.offset, h.length, "a lookup is asked for the old and the new row: its parameters cannot be pinned to one", "write {" + h.column + "}"})
			continue
		}
		if rc.tableColumn(path, h.offset, h.length, h.column) {
			rc.rule.params = append(rc.rule.params, rc.bind(path, h, false))
		}
	}
}

func (rc *ruleCompiler) targets() {
	for i, text := range rc.cfg.Invalidate {
		rc.target(fmt.Sprintf("%s.invalidate[%d]", rc.path, i), text, KeyTarget)
	}
	for i, text := range rc.cfg.Tags {
		rc.target(fmt.Sprintf("%s.tags[%d]", rc.path, i), text, TagTarget)
	}
	if rc.rule.lookup != nil && len(rc.rule.targets) > 0 && rc.table != nil &&
		!slices.ContainsFunc(rc.rule.targets, func(t *target) bool { return t.lookup }) {
		rc.warn(rc.path+".lookup", "no target uses a column that the lookup adds", "remove the lookup")
	}
}

func (rc *ruleCompiler) target(path, text string, kind TargetKind) {
	t := rc.parse(path, text, kind)
	t.index = len(rc.rule.targets)
	if kind == TagTarget && t.pattern {
		rc.fail(path, mistake{0, len(text), "a tag cannot be a pattern", `write \* for a literal asterisk`})
	}
	t.finish(rc.rule.index)
	rc.rule.targets = append(rc.rule.targets, t)
}

// parse parses and binds a template.
func (rc *ruleCompiler) parse(path, text string, kind TargetKind) *target {
	nodes, pattern, mistakes := parseTemplate(text)
	if len(mistakes) == 0 {
		if m := checkPrefix(text, nodes); m != nil {
			mistakes = append(mistakes, *m)
		}
	}
	for _, m := range mistakes {
		rc.fail(path, m)
	}
	t := &target{text: text, kind: kind, pattern: pattern}
	if pattern && kind == KeyTarget {
		t.kind = PatternTarget
	}
	for _, n := range nodes {
		switch n.kind {
		case literalNode:
			t.parts = append(t.parts, part{literal: n.text, escaped: string(appendEscaped(nil, n.text)), column: -1})
		case globNode:
			t.parts = append(t.parts, part{escaped: n.text, column: -1})
		case columnNode:
			t.parts = append(t.parts, rc.bind(path, n.hole, true))
		}
	}
	return t
}

// bind finds a placeholder's column in the table or, where allowed, takes it
// for one that the lookup adds.
func (rc *ruleCompiler) bind(path string, h placeholder, lookup bool) part {
	p := part{column: -1, name: h.column, image: h.image, filters: h.filters, hole: formatHole(h)}
	lookup = lookup && rc.rule.lookup != nil
	if lookup {
		p.lookup = true
		if rc.table != nil {
			if _, ok := rc.table.column(h.column); !ok {
				return p // cannot be checked here: the lookup's result will tell
			}
			p.lookup = false // the table's own column wins
		}
	}
	if !rc.tableColumn(path, h.offset, h.length, h.column) {
		return p
	}
	p.column = rc.plan.slot(h.column)
	if rc.table != nil {
		column, _ := rc.table.column(h.column)
		p.typ = column.Type
	}
	p.fixed = slices.Contains(rc.cfg.Immutable, h.column)
	if rc.checkDate(path, h) && !p.lookup {
		rc.needOld(path, h, p.fixed)
	}
	return p
}

// checkDate refuses the date filter on columns that never hold a date.
func (rc *ruleCompiler) checkDate(path string, h placeholder) bool {
	if rc.table == nil || len(h.filters) == 0 || h.filters[0].name != "date" {
		return true
	}
	column, _ := rc.table.column(h.column)
	switch column.Type {
	case "smallint", "integer", "bigint", "numeric", "real", "double precision", "boolean", "uuid", "json", "jsonb", "bytea", "time without time zone":
		rc.fail(path, mistake{h.offset, h.length, fmt.Sprintf("filter date needs a timestamp or date, and column %s is %s", quoteText(h.column), column.Type), ""})
		return false
	}
	return true
}

func (rc *ruleCompiler) warms() {
	for i := range rc.cfg.Warm {
		w := &rc.cfg.Warm[i]
		path := fmt.Sprintf("%s.warm[%d]", rc.path, i)
		compiled := &warm{WarmQuery: WarmQuery{Key: w.Key, TTL: w.TTL, Only: OnlyCached, Missing: MissingRemove}}
		if w.Only != "" {
			compiled.Only = w.Only
		}
		if w.Missing != "" {
			compiled.Missing = w.Missing
		}
		rc.word(path+".only", w.Only, OnlyCached, OnlyAlways)
		rc.word(path+".missing", w.Missing, MissingRemove, MissingAbsent)
		if w.TTL <= 0 {
			rc.fail(path+".ttl", mistake{message: "a warm query needs a positive ttl", remedy: "for example ttl: 10m"})
		}
		if w.Key == "" {
			rc.fail(path+".key", mistake{message: "a warm query needs a key"})
		} else {
			compiled.key = rc.parse(path+".key", w.Key, KeyTarget)
			switch {
			case compiled.key.pattern:
				rc.fail(path+".key", mistake{0, len(w.Key), "a warm key cannot be a pattern", `write \* for a literal asterisk`})
			case !slices.Contains(rc.cfg.Invalidate, w.Key):
				rc.fail(path+".key", mistake{
					0, len(w.Key), "the rule does not invalidate this key by name, so that a filled value would outlive the next change",
					"add " + quoteText(w.Key) + " to invalidate",
				})
			}
			compiled.key.finish(rc.rule.index)
		}
		q, mistakes := parseQuery(w.SQL)
		if strings.TrimSpace(w.SQL) == "" {
			mistakes = []mistake{{message: "a warm query needs sql"}}
		}
		for _, m := range mistakes {
			rc.fail(path+".sql", m)
		}
		for _, h := range q.holes {
			arg := rc.bindArg(path+".sql", h)
			if arg.name != "" && compiled.key != nil && !compiled.key.determines(&arg) {
				rc.fail(path+".sql", mistake{
					h.offset, h.length, "the key does not tell this value, so that a later change of it would leave another row's value under the key",
					"use the placeholders of key as they are, or add " + quoteText(h.column) + " to immutable",
				})
			}
			compiled.args = append(compiled.args, arg)
		}
		if compiled.key != nil {
			compiled.key.lookup = compiled.key.lookup || slices.ContainsFunc(compiled.args, func(p part) bool { return p.lookup })
		}
		compiled.SQL, compiled.source = q.sql, w.SQL
		rc.rule.warm = append(rc.rule.warm, compiled)
	}
}

// bindArg binds a warm query's parameter. Its old value is not demanded: a
// row whose parameters are unknown is not warmed.
func (rc *ruleCompiler) bindArg(path string, h placeholder) part {
	olds := len(rc.olds)
	p := rc.bind(path, h, true)
	rc.olds = rc.olds[:olds]
	return p
}

// names gives every rule a name of its own.
func (c *compiler) names(rules []Config) {
	used := map[string]bool{}
	for i := range rules {
		if name := rules[i].Name; name != "" {
			if used[name] {
				c.fail(fmt.Sprintf("rules[%d].name", i), mistake{length: len(name), message: "two rules are named " + quoteText(name)})
			}
			used[name] = true
		}
	}
	for _, r := range c.set.rules {
		if r.name == "" {
			table := formatTable(r.table)
			r.name = table
			for n := 2; used[r.name]; n++ {
				r.name = fmt.Sprintf("%s#%d", table, n)
			}
			used[r.name] = true
		}
		for _, w := range r.warm {
			w.Rule = r.name
		}
	}
}
