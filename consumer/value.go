package consumer

import (
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/freshet-dev/freshet/internal/cdc"
	"github.com/freshet-dev/freshet/internal/pgoutput"
)

// encodingOf returns how values of a built-in type are written. Everything
// that is not listed goes as a string in Postgres' text form: numeric, whose
// digits a reader's float would lose, as well as dates, enums and arrays.
func encodingOf(oid uint32) cdc.Encoding {
	switch oid {
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID:
		return cdc.AsInteger
	case pgtype.Float4OID, pgtype.Float8OID:
		return cdc.AsFloat
	case pgtype.BoolOID:
		return cdc.AsBool
	case pgtype.JSONOID, pgtype.JSONBOID:
		return cdc.AsJSON
	case pgtype.TimestampOID:
		return cdc.AsTimestamp
	case pgtype.TimestamptzOID:
		return cdc.AsTimestampTZ
	}
	return cdc.AsText
}

// encodingOfType returns how values of a type that is not built in are
// written. For a domain the server sends the domain's OID with the name of the
// type below all domains; so the stream itself says what the values look like,
// as of the time they were written, and the catalog need not be asked.
func encodingOfType(t *pgoutput.Type) cdc.Encoding {
	if t.Namespace != "pg_catalog" {
		return cdc.AsText
	}
	switch t.Name {
	case "int2", "int4", "int8":
		return cdc.AsInteger
	case "float4", "float8":
		return cdc.AsFloat
	case "bool":
		return cdc.AsBool
	case "json", "jsonb":
		return cdc.AsJSON
	case "timestamp":
		return cdc.AsTimestamp
	case "timestamptz":
		return cdc.AsTimestampTZ
	}
	return cdc.AsText
}
