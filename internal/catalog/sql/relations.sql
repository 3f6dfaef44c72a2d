-- The named tables and everything that inherits from them, at any depth.
-- $1 text[] schemas, $2 text[] names, position by position.
WITH RECURSIVE tree AS (
    SELECT c.oid AS root, c.oid AS relid, 0 AS depth
    FROM unnest($1::text[], $2::text[]) AS want(nsp, rel)
    JOIN pg_catalog.pg_namespace n ON n.nspname = want.nsp
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = want.rel
    WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm')
    UNION -- not ALL: a table may inherit from another along two ways
    SELECT tree.root, i.inhrelid, tree.depth + 1
    FROM tree
    JOIN pg_catalog.pg_inherits i ON i.inhparent = tree.relid
    WHERE NOT i.inhdetachpending
)
SELECT tree.root,
       tree.relid AS oid,
       min(tree.depth) AS depth,
       n.nspname::text AS schema,
       c.relname::text AS name,
       c.relkind::text AS relkind,
       c.relispartition AS partition,
       c.relpersistence = 'p' AS logged,
       c.relreplident::text AS identity,
       pg_get_userbyid(c.relowner)::text AS owner,
       pg_has_role(c.relowner, 'USAGE') AS owned,
       has_schema_privilege(n.oid, 'USAGE')
           AND (has_table_privilege(c.oid, 'SELECT') OR has_any_column_privilege(c.oid, 'SELECT')
                AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a
                                WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                                  AND NOT has_column_privilege(c.oid, a.attnum, 'SELECT'))) AS readable
FROM tree
JOIN pg_catalog.pg_class c ON c.oid = tree.relid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
GROUP BY tree.root, tree.relid, n.oid, n.nspname, c.oid, c.relname, c.relkind, c.relispartition, c.relpersistence, c.relreplident, c.relowner
ORDER BY tree.root, min(tree.depth), n.nspname, c.relname
