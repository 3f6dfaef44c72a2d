-- The shop's tables, and a few rows to look at.

CREATE TABLE clients (
    id   bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL
);

CREATE TABLE orders (
    id        bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    client_id bigint NOT NULL REFERENCES clients,
    status    text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'paid', 'shipped')),
    cents     bigint NOT NULL CHECK (cents > 0)
);

CREATE INDEX ON orders (client_id);

-- An order that goes to another client changes the lists of both, so Freshet
-- must see the old client too.
ALTER TABLE orders REPLICA IDENTITY FULL;

INSERT INTO clients (name) VALUES ('Ada'), ('Grace');
INSERT INTO orders (client_id, cents) VALUES (1, 1200), (1, 800), (2, 4200);
