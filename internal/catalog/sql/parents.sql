-- The tables that relations are partitions or children of, nearest first.
-- $1 oid[].
WITH RECURSIVE up AS (
    SELECT i.inhrelid AS relid, i.inhparent AS parent, 1 AS distance
    FROM pg_catalog.pg_inherits i
    WHERE i.inhrelid = ANY ($1::oid[]) AND NOT i.inhdetachpending
    UNION
    SELECT up.relid, i.inhparent, up.distance + 1
    FROM up
    JOIN pg_catalog.pg_inherits i ON i.inhrelid = up.parent
    WHERE NOT i.inhdetachpending
)
SELECT up.relid, up.parent, n.nspname::text AS schema, c.relname::text AS name
FROM up
JOIN pg_catalog.pg_class c ON c.oid = up.parent
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
GROUP BY up.relid, up.parent, n.nspname, c.relname
ORDER BY up.relid, min(up.distance), n.nspname, c.relname
