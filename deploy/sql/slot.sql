-- The replication slot. Needed with manage: false only.
--
-- Run by the role of role.sql, after publication.sql, and not before Freshet is
-- about to run: the server keeps all WAL from here on until somebody reads it.

SELECT pg_create_logical_replication_slot('freshet_shop', 'pgoutput');
