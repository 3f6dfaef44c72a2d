-- The foreign keys of tables, the parent's own inheritance left out.
-- $1 oid[].
SELECT k.conrelid AS relid,
       k.conname::text AS name,
       n.nspname::text AS parentschema,
       p.relname::text AS parentname,
       (SELECT array_agg(a.attname::text ORDER BY c.ord)
        FROM unnest(k.conkey) WITH ORDINALITY AS c(attnum, ord)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = c.attnum) AS columns
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class p ON p.oid = k.confrelid
JOIN pg_catalog.pg_namespace n ON n.oid = p.relnamespace
WHERE k.contype = 'f' AND k.conrelid = ANY ($1::oid[]) AND k.conparentid = 0
ORDER BY k.conrelid, k.conkey, k.conname
