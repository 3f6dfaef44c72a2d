-- The publication of the tables that the rules of ../freshet.yaml name. Needed
-- with manage: false only; with manage: true Freshet keeps it in step.
--
-- Run by the owner of the tables, who needs CREATE on the database, after
-- replica-identity.sql: UPDATE and DELETE on a published table without a replica
-- identity fail. Whole rows, without column lists and row filters, which can make
-- the application's statements fail.

CREATE PUBLICATION freshet_shop
    FOR TABLE ONLY users, ONLY sessions, ONLY clients, ONLY orders, ONLY order_items, ONLY inventory
    WITH (publish = 'insert, update, delete, truncate', publish_via_partition_root = false);
