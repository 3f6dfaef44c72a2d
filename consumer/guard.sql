-- The snapshot, and whether it comes from the server that runs our walsender.
-- $1 slot, $2 process id of our walsender
-- reply: snapshot, in recovery, the slot's process id, walsender found, its sync_state (NULL without pg_read_all_stats)
SELECT pg_current_snapshot()::text,
       pg_is_in_recovery(),
       (SELECT active_pid::bigint FROM pg_replication_slots WHERE slot_name = $1),
       EXISTS (SELECT FROM pg_stat_get_wal_senders() WHERE pid = $2),
       (SELECT sync_state FROM pg_stat_get_wal_senders() WHERE pid = $2)
