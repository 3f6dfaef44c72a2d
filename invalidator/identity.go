package invalidator

import (
	"slices"
	"time"

	"github.com/freshet-dev/freshet/internal/cdc"
)

// lostOldNews is how long a table whose old values are missing is told of once.
const lostOldNews = 5 * time.Minute

// LostOld is a table whose changes come without old values that rules need, though
// its replica identity had them when the rules were compiled: somebody has changed
// it. Its rows are invalidated more broadly.
type LostOld struct {
	Table string    `json:"table"`
	At    time.Time `json:"at"` // when the last such change came
}

// lostOld notes that a change of the table came without old values.
func (v *Invalidator) lostOld(table cdc.TableName, now time.Time) {
	if !v.stats.lostOld(table.String(), now) {
		return
	}
	v.emit("identity_changed", "changes of "+table.String()+" come without old values that rules need, and are invalidated more broadly; "+
		"its replica identity was changed: `freshet check --sql` prints the statement that mends it", map[string]any{"table": table.String()})
}

// lostOld reports whether this is news.
func (st *stats) lostOld(table string, now time.Time) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.s.LostOlds++
	all := slices.Clone(st.s.LostOld) // snapshots share it
	i := slices.IndexFunc(all, func(l LostOld) bool { return l.Table == table })
	if i < 0 {
		i = len(all)
		all = append(all, LostOld{Table: table})
	}
	news := now.Sub(all[i].At) > lostOldNews
	all[i].At = now.UTC()
	st.s.LostOld = all
	return news
}
