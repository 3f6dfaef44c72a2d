-- One publication with the relations and schemas that were added to it.
-- $1 its name. One row with JSON, as pg_publication's columns differ between
-- versions; no row when it does not exist.
SELECT to_jsonb(p)::text,
       pg_has_role(p.pubowner, 'USAGE'),
       pg_get_userbyid(p.pubowner)::text,
       coalesce(obj_description(p.oid, 'pg_publication'), ''),
       coalesce((SELECT jsonb_agg(jsonb_build_object(
                            'oid', c.oid::int8, 'schema', n.nspname, 'table', c.relname,
                            'columns', (to_jsonb(pr) ->> 'prattrs') IS NOT NULL,
                            'filter', (to_jsonb(pr) ->> 'prqual') IS NOT NULL) ORDER BY n.nspname, c.relname)
                 FROM pg_catalog.pg_publication_rel pr
                 JOIN pg_catalog.pg_class c ON c.oid = pr.prrelid
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                 WHERE pr.prpubid = p.oid), '[]')::text,
       (SELECT coalesce(array_agg(n.nspname::text ORDER BY n.nspname), '{}')
        FROM pg_catalog.pg_publication_namespace pn
        JOIN pg_catalog.pg_namespace n ON n.oid = pn.pnnspid
        WHERE pn.pnpubid = p.oid)
FROM pg_catalog.pg_publication p
WHERE p.pubname = $1
