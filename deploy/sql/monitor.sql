-- A role for people and tools that watch Freshet from the database's side. It
-- reads statistics and settings, and no table.
--
-- Run by a superuser. Then give it a password (psql: \password freshet_monitor).

CREATE ROLE freshet_monitor LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
GRANT pg_monitor TO freshet_monitor;

-- How much WAL the slot keeps, and how much more there may be:
--
--   SELECT slot_name, active, wal_status, safe_wal_size,
--          pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) AS retained,
--          pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn) AS behind
--   FROM pg_replication_slots WHERE slot_name = 'freshet_shop';
--
-- Who reads it, and how far (sync_state must be async):
--
--   SELECT application_name, client_addr, state, sync_state, sent_lsn, flush_lsn
--   FROM pg_stat_replication WHERE application_name LIKE 'freshet/%';
--
-- What is published:
--
--   SELECT schemaname, tablename FROM pg_publication_tables WHERE pubname = 'freshet_shop';
