-- The role of invalidators and warmers in processes of their own (`freshet run
-- --roles`): it reads tables. The consumer's, of role.sql, may replicate, which is to
-- read the whole server.
--
-- Run by a superuser, or by the owner of the tables who may make roles, in the
-- application's database. Then give it a password (psql: \password freshet_reader).

CREATE ROLE freshet_reader LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;

-- The tables of the rules, of their lookups and of their warm queries.
GRANT USAGE ON SCHEMA public TO freshet_reader;
GRANT SELECT ON TABLE users, sessions, clients, orders, order_items, inventory TO freshet_reader;
