package check

import (
	"context"
	"fmt"
	"strings"

	"github.com/freshet-dev/freshet/internal/catalog"
)

// publication compares the publication with the rules, as they will be when
// the identities have been mended.
func (c *postgresCheck) publication(ctx context.Context, tables []*catalog.Table) {
	const check = "publication"
	name := c.cfg.Publication
	p, err := catalog.ReadPublication(ctx, c.db, name)
	if err != nil {
		c.publishing.fail(check, err.Error(), "")
		return
	}
	plan := catalog.PlanPublication(p, name, tables, c.info.Version, true)
	defer func() {
		for _, extra := range plan.Extra {
			c.publishing.warn(check, fmt.Sprintf("%s publishes %s, which no rule needs", name, extra), "", catalog.DropTableSQL(name, extra))
		}
	}()
	if len(plan.Statements) == 0 {
		c.publishing.ok(check, "%s publishes the tables of the rules", name)
		return
	}
	will := "will be created"
	if p != nil {
		will = "will be altered to match the rules"
	}
	lacking := c.lacking(p, tables)
	line := Line{Check: check, Status: Fail, SQL: catalog.Transaction(plan.Statements)}
	switch {
	case len(plan.Foreign) > 0:
		line.Text = fmt.Sprintf("%s was not made by Freshet and does not serve: %s", name, strings.Join(plan.Foreign, "; "))
		line.Remedy = "see who else subscribes to it before you change it, or choose another name in postgres.publication"
	case !c.cfg.Manage && p == nil:
		line.Text = name + " does not exist, and postgres.manage is false"
	case !c.cfg.Manage:
		line.Text = name + " does not match the rules, and postgres.manage is false"
	case lacking != "":
		line.Text = fmt.Sprintf("%s %s, for which the role %s lacks a right: %s", name, will, c.role.Name, lacking)
		line.Remedy = "to be run by the owner of the tables"
	default:
		c.publishing.ok(check, "%s %s", name, will)
		return
	}
	c.publishing.add(line)
}

// lacking says which right is missing to change the publication; "" for none.
func (c *postgresCheck) lacking(p *catalog.Publication, tables []*catalog.Table) string {
	if p == nil && !c.role.CanCreate {
		return "CREATE on database " + c.info.Database
	}
	if p != nil && !p.Owned {
		return "ownership of the publication"
	}
	for _, t := range tables {
		for _, r := range append(t.Relations(), &t.Relation) {
			// The leaves of a partitioned table come with their root.
			if !r.Owned && (r.Name == t.Name || t.Kind != catalog.Partitioned) {
				return "ownership of " + r.Name.String()
			}
		}
	}
	return ""
}
