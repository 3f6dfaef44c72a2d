-- The demo's shop: a small production-management system.
create table clients (
    id           bigint generated always as identity primary key,
    workspace_id bigint not null,
    name         text not null,
    city         text
);

create table orders (
    id           bigint generated always as identity primary key,
    client_id    bigint not null references clients (id),
    workspace_id bigint not null,
    status       text not null default 'NEW',
    total        numeric(12, 2) not null default 0,
    created_at   timestamptz not null default now()
);

create table order_items (
    id       bigint generated always as identity primary key,
    order_id bigint not null references orders (id) on delete cascade,
    item_id  bigint not null,
    quantity int not null
);

create table inventory (
    item_id      bigint primary key,
    workspace_id bigint not null,
    name         text not null,
    stock        int not null
);

create table users (
    id          bigint generated always as identity primary key,
    email       text not null unique,
    name        text not null,
    permissions text[] not null default '{}'
);

create table sessions (
    id      text primary key,
    user_id bigint not null references users (id) on delete cascade,
    seen_at timestamptz not null default now()
);

create index on orders (client_id);
create index on orders (workspace_id);
create index on order_items (order_id);

-- Old values that the rules need must be in the replication stream.
alter table orders replica identity full;
alter table order_items replica identity full;
alter table inventory replica identity full;
alter table users replica identity full;

insert into clients (workspace_id, name, city)
select 1 + n % 4, 'Client ' || n, (array['Lyon', 'Porto', 'Graz', 'Bergen'])[1 + n % 4]
from generate_series(1, 60) n;

insert into inventory (item_id, workspace_id, name, stock)
select n, 1 + n % 4, 'Item ' || n, 1000 from generate_series(1, 80) n;

insert into orders (client_id, workspace_id, status, total)
select 1 + n % 60, 1 + n % 4, 'NEW', n from generate_series(1, 300) n;

insert into order_items (order_id, item_id, quantity)
select 1 + n % 300, 1 + n % 80, 1 + n % 5 from generate_series(1, 900) n;

insert into users (email, name, permissions)
select 'user' || n || '@shop.example', 'User ' || n, array['orders:read']
from generate_series(1, 50) n;

insert into sessions (id, user_id)
select md5(n::text), 1 + n % 50 from generate_series(1, 80) n;
