-- The database of a production-management application: orders of clients,
-- made from an inventory, by the users of a workspace. The configuration beside
-- it, ../freshet.yaml, keeps the application's cache fresh.
--
-- Run by the owner of the tables.

CREATE TABLE workspaces (
    id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL
);

CREATE TABLE users (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    workspace_id bigint NOT NULL REFERENCES workspaces (id),
    email        text NOT NULL UNIQUE,
    name         text NOT NULL,
    permissions  text[] NOT NULL DEFAULT '{}'
);

CREATE TABLE sessions (
    id         text PRIMARY KEY,
    user_id    bigint NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    expires_at timestamptz NOT NULL,
    data       jsonb NOT NULL DEFAULT '{}'
);

CREATE TABLE clients (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    workspace_id bigint NOT NULL REFERENCES workspaces (id),
    name         text NOT NULL,
    city         text
);

CREATE TABLE inventory (
    item_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    workspace_id bigint NOT NULL REFERENCES workspaces (id),
    name         text NOT NULL,
    quantity     integer NOT NULL DEFAULT 0,
    reserved     integer NOT NULL DEFAULT 0
);

CREATE TABLE orders (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    workspace_id bigint NOT NULL REFERENCES workspaces (id),
    client_id    bigint NOT NULL REFERENCES clients (id),
    status       text NOT NULL DEFAULT 'NEW',
    total        numeric(12, 2) NOT NULL DEFAULT 0,
    created_at   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE order_items (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id bigint NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    item_id  bigint NOT NULL REFERENCES inventory (item_id),
    quantity integer NOT NULL
);

CREATE INDEX ON users (workspace_id);
CREATE INDEX ON sessions (user_id);
CREATE INDEX ON orders (client_id);
CREATE INDEX ON orders (workspace_id, created_at);
CREATE INDEX ON order_items (order_id);
