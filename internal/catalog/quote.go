package catalog

import (
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// Quote returns the table's name as SQL, always quoted, so that it means the
// same with every search_path.
func Quote(t cdc.TableName) string {
	return pgx.Identifier{t.Schema, t.Table}.Sanitize()
}

// QuoteIdent returns a single name as SQL, always quoted.
func QuoteIdent(name string) string { return pgx.Identifier{name}.Sanitize() }

// quoteLiteral returns text as an SQL string, for statements that cannot bind
// parameters and for those that people run.
func quoteLiteral(text string) string {
	quoted := "'" + strings.ReplaceAll(text, "'", "''") + "'"
	if strings.Contains(text, `\`) {
		// The form that does not depend on standard_conforming_strings.
		return " E" + strings.ReplaceAll(quoted, `\`, `\\`)
	}
	return quoted
}

func quoteIdents(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = QuoteIdent(name)
	}
	return strings.Join(quoted, ", ")
}
