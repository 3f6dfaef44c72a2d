-- Who may do what in the database of examples/shop, and its publication, for
-- ../compose.yaml: what role.sql, reader.sql and publication.sql are for the source
-- application.
--
-- Run by psql as a superuser, after the tables are made, with the passwords in the
-- environment.

\getenv freshet POSTGRES_FRESHET_PASSWORD
\getenv reader POSTGRES_READER_PASSWORD
\getenv shop POSTGRES_SHOP_PASSWORD

-- The consumer.
CREATE ROLE freshet LOGIN REPLICATION NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'freshet';
GRANT pg_read_all_stats TO freshet;
GRANT SELECT ON TABLE clients, orders TO freshet;

-- Invalidator and warmer.
CREATE ROLE freshet_reader LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'reader';
GRANT SELECT ON TABLE clients, orders TO freshet_reader;

-- The shop.
CREATE ROLE shop LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'shop';
GRANT SELECT ON TABLE clients TO shop;
GRANT SELECT, INSERT, UPDATE ON TABLE orders TO shop;

-- Freshet makes its slot. It may not alter this: after the rules have changed,
-- `freshet run` ends with the statement to run.
CREATE PUBLICATION freshet_shop
    FOR TABLE ONLY clients, ONLY orders
    WITH (publish = 'insert, update, delete, truncate', publish_via_partition_root = false);
