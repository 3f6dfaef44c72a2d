package catalog

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/freshet-dev/freshet/internal/cdc"
)

//go:embed sql/fingerprint.sql
var fingerprintSQL string

// Fingerprint is what the catalog says of a table that changes when its
// contents may have changed without row events. It is kept as JSON between
// runs.
type Fingerprint struct {
	// OID is the table's own; zero: it does not exist.
	OID uint32 `json:"oid"`
	// Filenodes holds the file of the table and of everything below it, by
	// relation. A rewrite or a TRUNCATE gives a relation another one.
	Filenodes map[uint32]uint32 `json:"filenodes"`
	// Columns stands for the columns of the table and of everything below it.
	Columns string `json:"columns"`
	// Identity stands for their replica identities. It says nothing about
	// contents; rules are checked against it.
	Identity string `json:"identity"`
	// Publication stands for the publication's row in the catalog and for the
	// entries in it of the table and of everything below it.
	Publication string `json:"publication"`
}

// Component is a part of a fingerprint.
type Component string

// The components of a fingerprint.
const (
	ComponentTable       Component = "table"       // dropped, or dropped and re-created
	ComponentInheritance Component = "inheritance" // partitions or children came or went
	ComponentFilenode    Component = "filenode"    // rewritten or truncated
	ComponentColumns     Component = "columns"
	ComponentIdentity    Component = "identity"
	ComponentPublication Component = "publication" // out of the publication, and perhaps in again
)

// Changed returns the components in which f differs from what it was before.
func (f *Fingerprint) Changed(before *Fingerprint) []Component {
	var out []Component
	if f.OID != before.OID {
		// Everything else belongs to another table.
		return append(out, ComponentTable)
	}
	if !slices.Equal(slices.Sorted(maps.Keys(f.Filenodes)), slices.Sorted(maps.Keys(before.Filenodes))) {
		out = append(out, ComponentInheritance)
	}
	for oid, node := range f.Filenodes {
		if old, ok := before.Filenodes[oid]; ok && old != node {
			out = append(out, ComponentFilenode)
			break
		}
	}
	if f.Columns != before.Columns {
		out = append(out, ComponentColumns)
	}
	if f.Identity != before.Identity {
		out = append(out, ComponentIdentity)
	}
	if f.Publication != before.Publication {
		out = append(out, ComponentPublication)
	}
	return out
}

// AdoptFilenodes takes over from now the files of the given relations, for
// which a TRUNCATE was decoded. A rewrite of the same relation between the
// TRUNCATE and this look passes unseen unless it changed a column's type, so
// take now soon after the TRUNCATE was decoded.
func (f *Fingerprint) AdoptFilenodes(now *Fingerprint, relations ...uint32) {
	for _, oid := range relations {
		node, ok := now.Filenodes[oid]
		if _, known := f.Filenodes[oid]; ok && known {
			f.Filenodes[oid] = node
		}
	}
}

type fingerprintRow struct {
	Schema, Table                  string
	OID                            uint32
	Root                           bool
	Filenode                       uint32
	Columns, Identity, Publication string
}

// Fingerprints reads the fingerprints of tables, as published by the
// publication. A table that does not exist has one with OID zero.
func Fingerprints(ctx context.Context, db DB, publication string, names []cdc.TableName) (map[cdc.TableName]*Fingerprint, error) {
	schemas, tables := split(names)
	rows, err := collect[fingerprintRow](ctx, db, "catalog fingerprints", fingerprintSQL, schemas, tables, publication)
	if err != nil {
		return nil, err
	}
	type texts struct{ columns, identity, publication strings.Builder }
	parts := make(map[cdc.TableName]*texts, len(names))
	out := make(map[cdc.TableName]*Fingerprint, len(names))
	for _, name := range names {
		out[name] = &Fingerprint{Filenodes: make(map[uint32]uint32)}
		parts[name] = &texts{}
	}
	for _, row := range rows {
		name := cdc.TableName{Schema: row.Schema, Table: row.Table}
		f, t := out[name], parts[name]
		if row.Root {
			f.OID = row.OID
		}
		f.Filenodes[row.OID] = row.Filenode
		fmt.Fprintf(&t.columns, "%d=%s;", row.OID, row.Columns)
		fmt.Fprintf(&t.identity, "%d=%s;", row.OID, row.Identity)
		fmt.Fprintf(&t.publication, "%d=%s;", row.OID, row.Publication)
	}
	for name, f := range out {
		if f.OID == 0 {
			continue
		}
		f.Columns = digest(parts[name].columns.String())
		f.Identity = digest(parts[name].identity.String())
		f.Publication = digest(parts[name].publication.String())
	}
	return out, nil
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}
