-- What decides whether a logical slot survives a failover. Works on every version.
-- reply: synchronized_standby_slots, sync_replication_slots (empty before 17),
--        walsenders that serve no logical slot, physical slots that are read
SELECT coalesce(current_setting('synchronized_standby_slots', true), ''),
       coalesce(current_setting('sync_replication_slots', true), ''),
       (SELECT count(*)
        FROM pg_catalog.pg_stat_replication r
        WHERE r.state IN ('streaming', 'catchup')
          AND NOT EXISTS (SELECT FROM pg_catalog.pg_replication_slots s WHERE s.active_pid = r.pid AND s.slot_type = 'logical')),
       ARRAY(SELECT s.slot_name::text
             FROM pg_catalog.pg_replication_slots s
             WHERE s.slot_type = 'physical' AND s.active
             ORDER BY s.slot_name)
