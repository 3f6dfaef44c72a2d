-- Which old values of a changed or deleted row Postgres writes into the WAL: what
-- the rules of ../freshet.yaml need besides primary keys.
-- `freshet check --sql` prints these statements for rules of your own.
--
-- Run by the owner of the tables, once. Each takes a lock for a moment and
-- rewrites nothing; FULL makes the WAL of UPDATE and DELETE larger by the old row.

-- user:email:{email}: the key under the old address must go too.
ALTER TABLE users REPLICA IDENTITY FULL;

-- orders:client:{client_id}: the list of the client that the order leaves.
ALTER TABLE orders REPLICA IDENTITY FULL;

-- order:{order_id}: the order that the item leaves.
ALTER TABLE order_items REPLICA IDENTITY FULL;

-- changed: [quantity, reserved] compares them with what they were, and a deleted
-- item tells its workspace, for dashboard:{workspace_id}. Without this nothing
-- would be stale: every UPDATE would count, and every DELETE remove all dashboards.
ALTER TABLE inventory REPLICA IDENTITY FULL;

-- sessions and clients: their primary key is all that the rules use.
