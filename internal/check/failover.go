package check

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet/internal/catalog"
)

// failoverSlots is the first version whose logical slots can move to a promoted
// standby.
const failoverSlots = 170000

//go:embed sql/failover.sql
var failoverSQL string

// failover checks what becomes of the slot (nil: there is none) when a standby
// is promoted. Whatever becomes of it, nothing goes stale: a slot that is lost is
// noticed, and everything is flushed, which is what there is to avoid.
func (c *postgresCheck) failover(ctx context.Context, slot *catalog.Slot) {
	const check = "failover"
	var waitsFor, syncs string
	var standbys int
	var physical []string
	if err := c.db.QueryRow(ctx, failoverSQL).Scan(&waitsFor, &syncs, &standbys, &physical); err != nil {
		c.publishing.fail(check, oneLine(err), "")
		return
	}
	name := c.cfg.Slot
	switch {
	case c.info.Version < failoverSlots && standbys > 0:
		c.publishing.ok(check, "a promoted standby has no slot (Postgres 17 could give it one): the coverage of all rules is flushed then")
	case c.info.Version < failoverSlots:
		return
	case slot != nil && slot.Failover:
		c.failoverSlot(check, waitsFor, syncs, standbys, physical)
	case standbys == 0:
		c.publishing.ok(check, "no standby is connected that the slot would have to move to")
	case slot != nil:
		c.publishing.warn(check, name+" is not a failover slot: a promoted standby has none, and the coverage of all rules is flushed then",
			fmt.Sprintf(`while Freshet is stopped: psql "$DATABASE_URL&replication=database" -c 'ALTER_REPLICATION_SLOT %s (FAILOVER true)'; and set sync_replication_slots = on on the standbys`,
				catalog.QuoteIdent(name)))
	default:
		c.publishing.warn(check, name+" will not be a failover slot: a promoted standby has none, and the coverage of all rules is flushed then",
			"create it after the publication, and set sync_replication_slots = on on the standbys",
			strings.Replace(catalog.CreateSlotSQL(name), "'pgoutput')", "'pgoutput', failover => true)", 1))
	}
}

func (c *postgresCheck) failoverSlot(check, waitsFor, syncs string, standbys int, physical []string) {
	named := strings.FieldsFunc(waitsFor, func(r rune) bool { return strings.ContainsRune(`, "`, r) })
	gone := slices.DeleteFunc(slices.Clone(named), func(name string) bool { return slices.Contains(physical, name) })
	switch {
	case len(gone) > 0:
		c.publishing.warn(check, fmt.Sprintf("synchronized_standby_slots names %s, which nobody reads: the server sends Freshet nothing until somebody does", strings.Join(gone, ", ")),
			"start that standby, or take its slot out of synchronized_standby_slots")
	case len(named) == 0 && standbys > 0:
		line := Line{
			Check: check, Status: Warn,
			Text:   c.cfg.Slot + " is a failover slot, but may be ahead of the standbys: after a promotion what they lack is flushed as a gap",
			Remedy: "give each standby a physical slot (primary_slot_name) and name those slots in synchronized_standby_slots",
		}
		if len(physical) > 0 {
			line.SQL = []string{"ALTER SYSTEM SET synchronized_standby_slots = '" + strings.Join(physical, ", ") + "'", reloadSQL}
		}
		c.publishing.add(line)
	default:
		c.publishing.ok(check, "%s is a failover slot; it moves to standbys with sync_replication_slots = on (here: %s), hot_standby_feedback = on and a dbname in primary_conninfo",
			c.cfg.Slot, syncs)
	}
}
