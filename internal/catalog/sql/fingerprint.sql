-- What changes in the catalog when a table's contents may have changed without
-- row events. One statement, so that all of it is of one moment.
-- $1 text[] schemas, $2 text[] names, position by position, $3 the publication.
-- One row for each table and each relation below it. A column stands there with
-- the labels of its enum and the fields of its composite type: to rename one
-- changes what every row says. Domains and arrays are looked through once.
WITH RECURSIVE tree AS (
    SELECT want.nsp, want.rel, c.oid AS relid
    FROM unnest($1::text[], $2::text[]) AS want(nsp, rel)
    JOIN pg_catalog.pg_namespace n ON n.nspname = want.nsp
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = want.rel
    UNION
    SELECT tree.nsp, tree.rel, i.inhrelid
    FROM tree
    JOIN pg_catalog.pg_inherits i ON i.inhparent = tree.relid
    WHERE NOT i.inhdetachpending
)
SELECT tree.nsp AS schema,
       tree.rel AS "table",
       tree.relid AS oid,
       n.nspname = tree.nsp AND c.relname = tree.rel AS root,
       c.relfilenode AS filenode,
       coalesce((SELECT string_agg(concat_ws(':', a.attnum, quote_ident(a.attname), a.atttypid, a.atttypmod,
                                             a.attisdropped, a.attgenerated,
                                             (SELECT string_agg(e.oid || '=' || quote_ident(e.enumlabel), '/' ORDER BY e.oid)
                                              FROM pg_catalog.pg_type t
                                              JOIN pg_catalog.pg_enum e ON e.enumtypid IN (t.oid, t.typelem, t.typbasetype)
                                              WHERE t.oid = a.atttypid),
                                             (SELECT string_agg(f.attnum || '=' || quote_ident(f.attname), '/' ORDER BY f.attrelid, f.attnum)
                                              FROM pg_catalog.pg_type t
                                              JOIN pg_catalog.pg_type c ON c.oid IN (t.oid, t.typelem, t.typbasetype) AND c.typtype = 'c'
                                              JOIN pg_catalog.pg_attribute f ON f.attrelid = c.typrelid AND f.attnum > 0
                                              WHERE t.oid = a.atttypid)), ',' ORDER BY a.attnum)
                 FROM pg_catalog.pg_attribute a
                 WHERE a.attrelid = tree.relid AND a.attnum > 0), '') AS columns,
       concat_ws(':', c.relreplident,
                 (SELECT string_agg(concat_ws('/', i.indexrelid, i.indkey::text), ',' ORDER BY i.indexrelid)
                  FROM pg_catalog.pg_index i
                  WHERE i.indrelid = tree.relid
                    AND (c.relreplident = 'd' AND i.indisprimary AND i.indimmediate
                         OR c.relreplident = 'i' AND i.indisreplident))) AS identity,
       coalesce((SELECT concat_ws(':', p.oid, p.xmin, pr.oid, pr.xmin)
                 FROM pg_catalog.pg_publication p
                 LEFT JOIN pg_catalog.pg_publication_rel pr ON pr.prpubid = p.oid AND pr.prrelid = tree.relid
                 WHERE p.pubname = $3), '') AS publication
FROM tree
JOIN pg_catalog.pg_class c ON c.oid = tree.relid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
ORDER BY 1, 2, c.oid
