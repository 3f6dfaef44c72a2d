-- What TestServer runs, one transaction for each block between blank lines, to
-- make a server send every kind of message and of column.
CREATE TYPE status AS ENUM ('NEW', 'PAID', 'näive');
CREATE DOMAIN positive AS bigint CHECK (VALUE > 0);
CREATE DOMAIN flag AS boolean;
CREATE SCHEMA "Sales";
CREATE TABLE "Sales"."Order" (
    id bigint PRIMARY KEY, "clientId" integer, status status, amount numeric(12, 2), ratio float8, paid boolean,
    at timestamptz, local timestamp, day date, doc jsonb, raw json, bytes bytea, tags text[], ref uuid,
    quantity positive, open flag, note text);
ALTER TABLE "Sales"."Order" ALTER note SET STORAGE EXTERNAL;
CREATE TABLE whole (a text, b text, c integer);
ALTER TABLE whole REPLICA IDENTITY FULL;
ALTER TABLE whole ALTER b SET STORAGE EXTERNAL;
CREATE TABLE silent (a integer);
ALTER TABLE silent REPLICA IDENTITY NOTHING;
CREATE TABLE chosen (a integer NOT NULL, b text NOT NULL, c text, UNIQUE (b, a));
ALTER TABLE chosen REPLICA IDENTITY USING INDEX chosen_b_a_key;
CREATE TABLE parted (id integer, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2026-01-01') TO ('2026-07-01');
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM ('2026-07-01') TO ('2027-01-01');
CREATE TABLE bare ();
ALTER TABLE bare REPLICA IDENTITY FULL;
CREATE PUBLICATION all_tables FOR ALL TABLES;

SELECT pg_create_logical_replication_slot('recorded', 'pgoutput');

INSERT INTO "Sales"."Order" VALUES
    (1, 7, 'NEW', 12.50, 1e20, true, '2026-11-23 10:00:00.123456+00', '2026-11-23 10:00:00', '2026-11-23',
     '{"a": [1, null]}', E'{"a":\n 1}', '\xdeadbeef', '{a,"b c",NULL}', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 5, false, repeat('long ', 2000)),
    (2, NULL, 'näive', 'NaN', 'NaN', NULL, 'infinity', '12026-01-01 00:00:00', '0044-03-15 BC', 'null', '"x"', '', '{}', NULL, NULL, NULL,
     E'line\nquote " backslash \\ tab\t 🌊');

UPDATE "Sales"."Order" SET "clientId" = 9 WHERE id = 1;

UPDATE "Sales"."Order" SET id = 3 WHERE id = 2;

UPDATE "Sales"."Order" SET note = 'short' WHERE id = 1;

DELETE FROM "Sales"."Order" WHERE id = 1;

INSERT INTO whole VALUES ('a', repeat('b', 9000), 1), (NULL, '', NULL);

UPDATE whole SET c = 2 WHERE c = 1;

UPDATE whole SET b = 'short' WHERE c = 2;

DELETE FROM whole;

INSERT INTO chosen VALUES (1, 'one', NULL);

UPDATE chosen SET c = 'x';

UPDATE chosen SET b = 'two';

DELETE FROM chosen;

INSERT INTO silent VALUES (1);

INSERT INTO bare DEFAULT VALUES;

INSERT INTO parted VALUES (1, '2026-03-01');

UPDATE parted SET day = '2026-09-01';

TRUNCATE parted_2;

TRUNCATE whole, chosen, parted RESTART IDENTITY CASCADE;

ALTER TABLE chosen ADD d boolean DEFAULT true;
INSERT INTO chosen VALUES (1, 'one', NULL, NULL);
ALTER TABLE chosen DROP c;
INSERT INTO chosen VALUES (2, 'two', false);

SELECT pg_logical_emit_message(true, 'freshet', 'beat');

SELECT pg_logical_emit_message(false, '', '');

SELECT pg_replication_origin_create('elsewhere');

SELECT pg_replication_origin_session_setup('elsewhere');

SELECT pg_replication_origin_xact_setup('0/1234', '2026-11-23 10:00:00+00');
INSERT INTO silent VALUES (2);
