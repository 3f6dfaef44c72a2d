-- The role that Freshet connects as, with the rights that it needs and no other. Where
-- roles run in processes of their own, it is the consumer's: see reader.sql.
--
-- Run by a superuser, or by whoever may grant REPLICATION, in the application's
-- database. Then give it a password (psql: \password freshet) and let it in by
-- pg_hba.conf. Managed services grant REPLICATION in ways of their own:
-- `freshet check` tries it and says what is missing.

CREATE ROLE freshet LOGIN REPLICATION NOSUPERUSER NOCREATEDB NOCREATEROLE;

-- To see whether its own walsender counts as a synchronous standby, for which
-- every commit would wait.
GRANT pg_read_all_stats TO freshet;

-- The tables of the rules and of their lookups, for reading only. Replication
-- itself asks for no right on tables.
GRANT USAGE ON SCHEMA public TO freshet;
GRANT SELECT ON TABLE users, sessions, clients, orders, order_items, inventory TO freshet;

-- This role owns nothing, so it cannot change the publication: set
-- postgres.manage to false, and run publication.sql and slot.sql. To let Freshet
-- follow changed rules by itself (manage: true), make it a member of the tables'
-- owner, which may do more than read them, and give that owner CREATE on the
-- database:
--
--   GRANT owner_of_the_tables TO freshet;
