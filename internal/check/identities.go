package check

import (
	"maps"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet/internal/catalog"
	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/rule"
)

// Identities returns the statements that give tables the replica identities
// that rules need, without semicolons and sorted by table, and the mistakes
// that no identity mends. tables must be all that Schema would be made of.
func Identities(tables map[cdc.TableName]*catalog.Table, compile func(rule.Schema) Compiled) (sql []string, left []Mistake) {
	m := newMending(tables, compile)
	names := slices.SortedFunc(maps.Keys(m.found), func(a, b cdc.TableName) int {
		return strings.Compare(catalog.Quote(a), catalog.Quote(b))
	})
	for _, name := range names {
		sql = append(sql, m.found[name].sql...)
	}
	return sql, m.left
}
