-- The server, its settings and its state; one row. No parameters. Nothing here
-- needs more than LOGIN. The timeline of a running primary comes from the name
-- of the WAL file that it writes, since the control file still has the old one
-- between a promotion and the next checkpoint.
SELECT current_setting('server_version_num')::int,
       current_setting('server_version'),
       (SELECT system_identifier::text FROM pg_control_system()),
       CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id::int8 FROM pg_control_checkpoint())
            ELSE ('x' || lpad(left(pg_walfile_name(pg_current_wal_insert_lsn()), 8), 16, '0'))::bit(64)::int8 END,
       pg_is_in_recovery(),
       current_setting('wal_level'),
       (SELECT pg_encoding_to_char(encoding)::text FROM pg_catalog.pg_database WHERE datname = current_database()),
       current_database()::text,
       current_setting('max_wal_senders')::int,
       (SELECT count(*)::int FROM pg_stat_get_wal_senders()),
       current_setting('max_replication_slots')::int,
       (SELECT count(*)::int FROM pg_catalog.pg_replication_slots),
       current_setting('synchronous_standby_names'),
       (SELECT setting::int8 FROM pg_catalog.pg_settings WHERE name = 'max_slot_wal_keep_size'),
       (SELECT setting::int8 FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout'),
       (SELECT stats_reset FROM pg_catalog.pg_stat_wal),
       coalesce((SELECT ssl FROM pg_catalog.pg_stat_ssl WHERE pid = pg_backend_pid()), false)
