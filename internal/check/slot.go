package check

import (
	"context"
	"fmt"

	"github.com/freshet-dev/freshet/internal/catalog"
)

// slot checks the replication slot, or that there is room for it. It comes
// after the publication, which must be there first: the slot reads it as it was
// at each position. It returns the slot, or nil.
func (c *postgresCheck) slot(ctx context.Context) *catalog.Slot {
	slot, err := catalog.ReadSlot(ctx, c.db, c.cfg.Slot)
	if err != nil {
		c.publishing.fail("slot", err.Error(), "")
		return nil
	}
	name := c.cfg.Slot
	switch {
	case slot == nil:
		c.noSlot()
		return nil
	case slot.Plugin != "pgoutput":
		c.publishing.fail("slot", fmt.Sprintf("%s belongs to something else: it has plugin %q, not pgoutput", name, slot.Plugin), "choose another name in postgres.slot")
		return nil
	case slot.Database != c.info.Database:
		c.publishing.fail("slot", fmt.Sprintf("%s is of database %s", name, slot.Database), "choose another name in postgres.slot")
		return nil
	case slot.Temporary:
		c.publishing.fail("slot", name+" is temporary: it ends with the session that made it", "choose another name in postgres.slot, or end that session")
		return nil
	case slot.Lost() && c.cfg.Manage:
		c.publishing.warn("slot", name+" was given up by the server: it will be created again and the coverage of all rules flushed", "")
	case slot.Lost():
		c.publishing.fail("slot", name+" was given up by the server", "the coverage of all rules will be flushed",
			catalog.DropSlotSQL(name), catalog.CreateSlotSQL(name))
	case slot.Retained > c.cfg.MaxWAL:
		c.publishing.warn("slot", fmt.Sprintf("the server keeps %s of WAL for %s, more than postgres.max_wal (%s)", size(slot.Retained), name, size(c.cfg.MaxWAL)),
			"see that freshet runs and why it is behind")
	case slot.WALStatus == "unreserved":
		c.publishing.warn("slot", name+" has outgrown max_slot_wal_keep_size and is about to be given up", "see that freshet runs and why it is behind")
	case slot.Active:
		c.publishing.ok("slot", "%s is read by process %d, confirmed to %s, keeps %s of WAL", name, slot.ActivePID, slot.Confirmed, size(slot.Retained))
	default:
		c.publishing.ok("slot", "%s, confirmed to %s, keeps %s of WAL, nobody reads it now", name, slot.Confirmed, size(slot.Retained))
	}
	c.publishing.ok("max_replication_slots", "ours is one of %d, of %d", c.info.Slots, c.info.MaxSlots)
	return slot
}

func (c *postgresCheck) noSlot() {
	free := c.info.MaxSlots - c.info.Slots
	switch {
	case free < 1: // creating it fails until then
		c.publishing.fail("max_replication_slots", fmt.Sprintf("all of %d are in use", c.info.MaxSlots), "restart the server afterwards",
			fmt.Sprintf("ALTER SYSTEM SET max_replication_slots = %d", c.info.MaxSlots+5))
	default:
		c.publishing.ok("max_replication_slots", "%d of %d free", free, c.info.MaxSlots)
	}
	if c.cfg.Manage {
		c.publishing.ok("slot", "%s will be created", c.cfg.Slot)
		return
	}
	const text, sql = " does not exist, and postgres.manage is false", " WHERE current_setting('wal_level') = 'logical'"
	if c.info.WALLevel == "logical" {
		c.publishing.fail("slot", c.cfg.Slot+text, "after the publication", catalog.CreateSlotSQL(c.cfg.Slot))
		return
	}
	// So that the rest of the script runs where this cannot.
	c.publishing.fail("slot", c.cfg.Slot+text, "after the publication, and once more after the restart", catalog.CreateSlotSQL(c.cfg.Slot)+sql)
}
