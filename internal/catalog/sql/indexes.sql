-- The indexes that can identify a row to replication: unique, valid,
-- immediate, of whole rows, over plain columns that are all NOT NULL.
-- $1 oid[].
SELECT i.indrelid AS relid,
       c.relname::text AS name,
       i.indisprimary AS primary,
       i.indisreplident AS chosen,
       (SELECT array_agg(a.attname::text ORDER BY k.ord)
        FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, ord)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
        WHERE k.ord <= i.indnkeyatts) AS columns
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = ANY ($1::oid[])
  AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
  AND NOT EXISTS (SELECT
                  FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, ord)
                  LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                  WHERE k.ord <= i.indnkeyatts AND a.attnotnull IS NOT TRUE)
ORDER BY i.indrelid, NOT i.indisprimary, c.relname
