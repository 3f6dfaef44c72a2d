-- The columns of relations. $1 oid[].
WITH RECURSIVE base AS (
    SELECT t.oid AS typid, t.oid AS base, t.typtype, t.typbasetype
    FROM pg_catalog.pg_type t
    WHERE t.oid IN (SELECT atttypid FROM pg_catalog.pg_attribute WHERE attrelid = ANY ($1::oid[]))
    UNION ALL
    SELECT b.typid, t.oid, t.typtype, t.typbasetype
    FROM base b
    JOIN pg_catalog.pg_type t ON t.oid = b.typbasetype
    WHERE b.typtype = 'd'
)
SELECT a.attrelid AS relid,
       a.attnum AS num,
       a.attname::text AS name,
       format_type(a.atttypid, a.atttypmod) AS type,
       a.atttypid AS typeoid,
       b.base AS baseoid,
       a.attnotnull AS notnull,
       a.attgenerated::text AS generated
FROM pg_catalog.pg_attribute a
JOIN base b ON b.typid = a.atttypid AND b.typtype <> 'd'
WHERE a.attrelid = ANY ($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
