package scaffold

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet/internal/rule"
)

// render writes the file.
func render(database string, drafts []*draft, d *Draft) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# yaml-language-server: $schema=https://raw.githubusercontent.com/freshet-dev/freshet/main/docs/freshet.schema.json
# Freshet: which cache keys depend on which table of database %s.
#
# Drafted by `+"`freshet init`"+` from primary, unique and foreign keys. Rename the keys to
# those that your services use, delete what nobody caches, then:
#
#   freshet check      every precondition, each with its remedy
#   freshet explain TABLE JSON
#   freshet run
#
`, oneLine(database))
	b.WriteString(identityComment(d.SQL))
	for i, l := range d.Left {
		if i == 0 {
			b.WriteString("# Without a rule:\n#\n")
		}
		fmt.Fprintf(&b, "#   %s: %s\n", oneLine(rule.FormatTable(l.Table)), oneLine(l.Reason))
	}
	fmt.Fprintf(&b, `
# In subjects, keys and metrics: letters, digits, _ and -.
name: %s

postgres:
  # The primary, not a pooler and not a standby.
  url: ${DATABASE_URL}
  # Create and alter the publication to match the rules, which takes the owner
  # of the tables; with false, and where the right is missing, say the SQL.
  manage: true

nats:
  url: ${NATS_URL:-}  # empty: a server inside this process

cache:
  url: ${REDIS_URL}   # redis:// rediss:// unix://

# A target with {column} is rendered from the row as it was and as it is. One
# with * is a pattern, which costs a scan of the keyspace.
#
# The commented targets are guesses, to be freed of their # where there are such
# keys: everything kept about one row, lists by filter and page, pages that sum up
# for whom a row belongs to, figures of a day (in UTC).
rules:
`, instance(database))
	for i, r := range drafts {
		if i > 0 {
			b.WriteByte('\n')
		}
		r.render(&b)
	}
	return b.String()
}

func identityComment(sql []string) string {
	if len(sql) == 0 {
		return "# The replica identities of the tables carry every old value that the rules need.\n#\n"
	}
	var b strings.Builder
	b.WriteString(`# A key made of a column that can change needs the value that the column had
# before. Postgres writes it into the WAL for the columns of the replica
# identity, by default the primary key. The rules below need, once, run by the
# owner of the tables:
#
`)
	for _, s := range sql {
		fmt.Fprintf(&b, "#   %s;\n", oneLine(s))
	}
	b.WriteString(`#
# FULL writes the whole old row with every UPDATE and DELETE. A column that never
# changes can be named under immutable instead, and a target nobody caches goes
# with its statement: ` + "`freshet check --sql`" + ` prints what is left to run.
#
`)
	return b.String()
}

func (d *draft) render(b *strings.Builder) {
	for _, note := range d.notes {
		fmt.Fprintf(b, "  # %s\n", oneLine(note))
	}
	fmt.Fprintf(b, "  - table: %s\n    invalidate:\n", scalar(rule.FormatTable(d.table.Name)))
	width := 0
	for _, l := range d.targets {
		width = max(width, len(scalar(l.target)))
	}
	for _, l := range d.targets {
		text := scalar(l.target)
		if l.comment != "" {
			text += strings.Repeat(" ", width-len(text)) + "  # " + oneLine(l.comment)
		}
		fmt.Fprintf(b, "      - %s\n", text)
	}
	for _, guess := range d.guesses {
		fmt.Fprintf(b, "      # - %s\n", scalar(guess))
	}
	if len(d.fixed) > 0 {
		columns := make([]string, len(d.fixed))
		for i, c := range d.fixed {
			columns[i] = scalar(c)
		}
		fmt.Fprintf(b, "    # immutable: [%s]\n", strings.Join(columns, ", "))
	}
}

// plainScalar is text that YAML reads as itself without quotes.
var plainScalar = regexp.MustCompile(`^[\pL_][\pL\pN_]*([.:|{}*-]+[\pL\pN_{}*|-]+)*$`)

// notText are words that YAML, or one of its versions, takes for something
// else than text.
var notText = []string{"null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf"}

// scalar writes text so that the configuration reads it back.
func scalar(text string) string {
	text = strings.ReplaceAll(text, "${", "$${")
	if plainScalar.MatchString(text) && !slices.Contains(notText, strings.ToLower(text)) {
		return text
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		// Only double quotes have escapes.
		var b strings.Builder
		for _, r := range text {
			switch {
			case r == '"' || r == '\\':
				b.WriteByte('\\')
				b.WriteRune(r)
			case r < ' ' || r == 0x7f:
				fmt.Fprintf(&b, `\x%02x`, r)
			default:
				b.WriteRune(r)
			}
		}
		return `"` + b.String() + `"`
	}
	return "'" + strings.ReplaceAll(text, "'", "''") + "'"
}

// oneLine keeps a name with a line break in it from ending a comment.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// instance makes a name that an instance may have.
func instance(database string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' {
			return r
		}
		return '_'
	}, database)
	if name == "" {
		return "shop"
	}
	return scalar(name)
}
