package uninstall

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/internal/catalog"
)

// openPostgres looks for slot and publication. Freshet makes nothing else in a
// database.
func openPostgres(ctx context.Context, cfg Config, r *Report) (done func()) {
	if cfg.PostgresURL == "" {
		return nothing
	}
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	options, err := pgx.ParseConfig(cfg.PostgresURL)
	if err != nil {
		r.unreachable("postgres", err)
		return nothing
	}
	options.RuntimeParams["application_name"] = "freshet uninstall"
	db, err := pgx.ConnectConfig(within, options)
	if err != nil {
		r.unreachable("postgres", err)
		return nothing
	}
	done = func() { db.Close(context.WithoutCancel(ctx)) }
	slot, err := catalog.ReadSlot(within, db, cfg.Slot)
	if err != nil {
		r.unreachable("postgres", err)
		return done
	}
	publication, err := catalog.ReadPublication(within, db, cfg.Publication)
	if err != nil {
		r.unreachable("postgres", err)
		return done
	}
	if slot != nil {
		r.add(slotItem(cfg, db, slot))
		if slot.Active {
			r.Running = append(r.Running, fmt.Sprintf("slot %s is read by process %d of the Postgres server", slot.Name, slot.ActivePID))
		}
	}
	if publication != nil {
		r.add(publicationItem(cfg, db, publication))
	}
	return done
}

func slotItem(cfg Config, db *pgx.Conn, slot *catalog.Slot) *Item {
	i := &Item{Where: "postgres", Kind: "slot", Name: slot.Name, State: Found, Note: fmt.Sprintf("keeps %d MB of WAL", slot.Retained>>20)}
	i.remove = func(ctx context.Context) error { return catalog.DropSlot(ctx, db, slot.Name) }
	switch {
	case slot.Plugin != "pgoutput" || slot.Database != db.Config().Database || slot.Temporary:
		i.State, i.Note = Left, "not Freshet's: another plugin or database, or a temporary one"
	case !cfg.Manage:
		i.State, i.Note, i.SQL = Left, "made by hand (manage: false); "+i.Note, catalog.DropSlotSQL(slot.Name)
	}
	return i
}

func publicationItem(cfg Config, db *pgx.Conn, p *catalog.Publication) *Item {
	i := &Item{Where: "postgres", Kind: "publication", Name: p.Name, State: Found, Note: fmt.Sprintf("of %d tables", len(p.Tables))}
	i.remove = func(ctx context.Context) error { return catalog.DropPublication(ctx, db, p.Name) }
	switch {
	case !cfg.Manage:
		i.State, i.Note, i.SQL = Left, "made by hand (manage: false)", catalog.DropPublicationSQL(p.Name)
	case !p.Ours:
		i.State, i.Note, i.SQL = Left, "not made by Freshet, as its comment would say", catalog.DropPublicationSQL(p.Name)
	}
	return i
}
