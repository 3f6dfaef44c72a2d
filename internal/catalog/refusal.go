package catalog

import "fmt"

// Refusal returns why the table must not be published, as a RemedyError with
// the SQL that makes it possible, or nil if it may be. A table is refused when
// its changes are not decoded at all, and when publishing it would make the
// application's own UPDATE and DELETE fail now or on a partition created later.
func (t *Table) Refusal() *RemedyError {
	switch t.Kind {
	case Ordinary, Partitioned:
	case View, MatView, Foreign, OtherKind:
		return &RemedyError{Problem: fmt.Sprintf(
			"%s is a %s, whose changes Postgres does not decode: name the tables behind it instead", t.Name, t.Kind)}
	}
	// New partitions get the primary key and no other identity (REPLICA
	// IDENTITY FULL of the root is not inherited), and they are published from
	// their first row on.
	if t.Kind == Partitioned && len(t.PrimaryKey) == 0 {
		refusal := &RemedyError{
			Problem: fmt.Sprintf("%s is partitioned and has no primary key: UPDATE and DELETE would fail on partitions created after it is published", t.Name),
			Note:    "give it a primary key, which must contain the columns that it is partitioned by",
		}
		if len(t.Unique) > 0 {
			refusal.SQL = []string{fmt.Sprintf("ALTER TABLE %s ADD PRIMARY KEY (%s)", Quote(t.Name), quoteIdents(t.Unique[0].Columns))}
		}
		return refusal
	}
	for _, r := range t.Relations() {
		if refusal := r.refusal(t); refusal != nil {
			return refusal
		}
	}
	return nil
}

func (r *Relation) refusal(t *Table) *RemedyError {
	of := ""
	if r.Name != t.Name {
		of = fmt.Sprintf(" (part of %s)", t.Name)
	}
	switch {
	case r.Kind == Foreign:
		return &RemedyError{Problem: fmt.Sprintf("%s%s is a foreign table, whose changes Postgres does not decode", r.Name, of)}
	case r.Kind == Ordinary && !r.Logged:
		return &RemedyError{
			Problem: fmt.Sprintf("%s%s is not logged, so its changes are not decoded", r.Name, of),
			SQL:     []string{fmt.Sprintf("ALTER TABLE %s SET LOGGED", Quote(r.Name))},
			Note:    "this rewrites the table under an exclusive lock",
		}
	case !r.Identity.Usable():
		return &RemedyError{
			Problem: fmt.Sprintf("%s%s has no usable replica identity (%s): its UPDATE and DELETE would fail once it is published", r.Name, of, r.Identity),
			SQL:     []string{r.MakeUsable()},
		}
	case r.Identity.Kind == IdentityFull && len(r.virtual) > 0:
		return &RemedyError{
			Problem: fmt.Sprintf("%s%s has replica identity full and a virtual generated column (%s): its UPDATE and DELETE would fail once it is published",
				r.Name, of, r.virtual[0]),
			SQL: []string{r.useBestKey(fmt.Sprintf("ALTER TABLE %s DROP COLUMN %s", Quote(r.Name), QuoteIdent(r.virtual[0])))},
		}
	}
	return nil
}

// MakeUsable returns the statement that gives the relation an identity with
// which it can be published: its primary key, another unique index, else FULL.
func (r *Relation) MakeUsable() string {
	return r.useBestKey(fmt.Sprintf("ALTER TABLE %s REPLICA IDENTITY FULL", Quote(r.Name)))
}

func (r *Relation) useBestKey(otherwise string) string {
	switch {
	case len(r.PrimaryKey) > 0:
		return fmt.Sprintf("ALTER TABLE %s REPLICA IDENTITY DEFAULT", Quote(r.Name))
	case len(r.Unique) > 0:
		return fmt.Sprintf("ALTER TABLE %s REPLICA IDENTITY USING INDEX %s", Quote(r.Name), QuoteIdent(r.Unique[0].Name))
	}
	return otherwise
}
