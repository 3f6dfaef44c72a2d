package catalog

import (
	"context"
	"fmt"
)

// Role is the role that a connection acts as.
type Role struct {
	Name         string
	Superuser    bool
	Replication  bool // the attribute; managed services grant it in other ways too
	ReadAllStats bool // has the rights of pg_read_all_stats
	CanCreate    bool // may create a publication in this database
}

// ReadRole reads the current role and its rights.
func ReadRole(ctx context.Context, db DB) (*Role, error) {
	r := &Role{}
	err := db.QueryRow(ctx, `
SELECT rolname::text, rolsuper, rolreplication,
       pg_has_role('pg_read_all_stats', 'USAGE'),
       has_database_privilege(current_database(), 'CREATE')
FROM pg_catalog.pg_roles WHERE rolname = current_user`).Scan(&r.Name, &r.Superuser, &r.Replication, &r.ReadAllStats, &r.CanCreate)
	if err != nil {
		return nil, fmt.Errorf("read role: %w", err)
	}
	return r, nil
}
