package catalog

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/freshet-dev/freshet/internal/cdc"
)

//go:embed sql/publication.sql
var publicationSQL string

// ownComment begins the comment of publications that Freshet made for itself.
// Only from those does it take tables away and change options: another
// publication may have other subscribers.
const ownComment = "Freshet: "

// Publication is a publication as it is.
type Publication struct {
	Name      string
	Owner     string
	Owned     bool // our role has its owner's rights
	Ours      bool // made for Freshet, by its comment
	AllTables bool
	// Insert, Update, Delete and Truncate are the operations it publishes.
	Insert, Update, Delete, Truncate bool
	ViaRoot                          bool
	// SendsGenerated is whether it sends stored generated columns (Postgres 18
	// and later).
	SendsGenerated bool
	Tables         []PublishedTable
	Schemas        []string // schemas added as a whole
}

// PublishedTable is a relation that was added to a publication by name.
type PublishedTable struct {
	Name    cdc.TableName
	OID     uint32
	Columns bool // with a column list
	Filter  bool // with a row filter
}

type publicationRow struct {
	AllTables bool   `json:"puballtables"`
	Insert    bool   `json:"pubinsert"`
	Update    bool   `json:"pubupdate"`
	Delete    bool   `json:"pubdelete"`
	Truncate  bool   `json:"pubtruncate"`
	ViaRoot   bool   `json:"pubviaroot"`
	Generated string `json:"pubgencols"`
}

type publishedRow struct {
	OID     uint32 `json:"oid"`
	Schema  string `json:"schema"`
	Table   string `json:"table"`
	Columns bool   `json:"columns"`
	Filter  bool   `json:"filter"`
}

// DropPublicationSQL is the statement that drops the publication.
func DropPublicationSQL(name string) string { return "DROP PUBLICATION IF EXISTS " + QuoteIdent(name) }

// DropPublication drops the publication. One that is gone is no error.
func DropPublication(ctx context.Context, db DB, name string) error {
	if _, err := db.Exec(ctx, DropPublicationSQL(name)); err != nil {
		return &RemedyError{Problem: fmt.Sprintf("drop publication %q", name), Err: err, SQL: []string{DropPublicationSQL(name)}, Note: "it takes its owner"}
	}
	return nil
}

// ReadPublication reads a publication; nil without an error when there is none
// of that name.
func ReadPublication(ctx context.Context, db DB, name string) (*Publication, error) {
	p := &Publication{Name: name}
	var text, tables []byte
	var comment string
	err := db.QueryRow(ctx, publicationSQL, name).Scan(&text, &p.Owned, &p.Owner, &comment, &tables, &p.Schemas)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // absence is an ordinary answer here
	}
	if err != nil {
		return nil, fmt.Errorf("read publication %q: %w", name, err)
	}
	var row publicationRow
	var published []publishedRow
	if err := errors.Join(json.Unmarshal(text, &row), json.Unmarshal(tables, &published)); err != nil {
		return nil, fmt.Errorf("read publication %q: %w", name, err)
	}
	p.Ours = strings.HasPrefix(comment, ownComment)
	p.AllTables, p.ViaRoot, p.SendsGenerated = row.AllTables, row.ViaRoot, row.Generated == "s"
	p.Insert, p.Update, p.Delete, p.Truncate = row.Insert, row.Update, row.Delete, row.Truncate
	for _, t := range published {
		p.Tables = append(p.Tables, PublishedTable{
			Name: cdc.TableName{Schema: t.Schema, Table: t.Table}, OID: t.OID, Columns: t.Columns, Filter: t.Filter,
		})
	}
	return p, nil
}

// publishesAll reports whether all four operations are published.
func (p *Publication) publishesAll() bool { return p.Insert && p.Update && p.Delete && p.Truncate }

func (p *Publication) table(name cdc.TableName) (PublishedTable, bool) {
	for _, t := range p.Tables {
		if t.Name == name {
			return t, true
		}
	}
	return PublishedTable{}, false
}
