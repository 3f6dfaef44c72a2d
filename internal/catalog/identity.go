package catalog

import "slices"

// IdentityKind is the REPLICA IDENTITY setting of a relation.
type IdentityKind string

// The settings of REPLICA IDENTITY.
const (
	IdentityDefault IdentityKind = "default" // the primary key
	IdentityIndex   IdentityKind = "index"
	IdentityFull    IdentityKind = "full"
	IdentityNothing IdentityKind = "nothing"
)

// Identity says which old values of a row reach logical decoding.
type Identity struct {
	Kind IdentityKind
	// Columns are the columns whose old values are written. Empty for full,
	// for nothing, for default without a usable primary key, and for an index
	// that is gone.
	Columns []string
	// Index is the index behind default and index, if there is one.
	Index string
}

// Usable reports whether UPDATE and DELETE of a relation with this identity
// succeed while a publication publishes them.
func (i Identity) Usable() bool {
	return i.Kind == IdentityFull || len(i.Columns) > 0
}

// Covers reports whether the old value of the column is written for every
// UPDATE that changes it.
func (i Identity) Covers(column string) bool {
	return i.Kind == IdentityFull || slices.Contains(i.Columns, column)
}

// String is the identity for people.
func (i Identity) String() string {
	switch {
	case i.Kind == IdentityDefault && len(i.Columns) == 0:
		return "default without a usable primary key"
	case i.Kind == IdentityIndex && len(i.Columns) == 0:
		return "an index that is gone"
	case i.Kind == IdentityIndex:
		return "index " + i.Index
	}
	return string(i.Kind)
}

// Weakest returns the identity that holds for every relation with rows of the
// table, and the relation that limits it: an unusable one as soon as there is
// one, full when all are full, otherwise the columns that all have in common,
// which may be none although each relation is usable by itself.
func (t *Table) Weakest() (Identity, *Relation) {
	relations := t.Relations()
	if len(relations) == 0 {
		// A partitioned table without partitions: future ones inherit its
		// primary key and nothing else.
		return Identity{Kind: IdentityDefault, Columns: t.PrimaryKey}, &t.Relation
	}
	weakest, by := relations[0].Identity, relations[0]
	for _, r := range relations {
		switch {
		case !r.Identity.Usable():
			return r.Identity, r
		case r.Identity.Kind == IdentityFull:
		case weakest.Kind == IdentityFull:
			weakest, by = r.Identity, r
		default:
			common := slices.DeleteFunc(slices.Clone(weakest.Columns), func(c string) bool {
				return !slices.Contains(r.Identity.Columns, c)
			})
			if len(common) < len(weakest.Columns) {
				weakest, by = Identity{Kind: IdentityIndex, Columns: common, Index: r.Identity.Index}, r
			}
		}
	}
	return weakest, by
}
