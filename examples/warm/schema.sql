-- A product page that everybody reads, and whose price changes often.
create table products (
    id    bigint generated always as identity primary key,
    name  text not null,
    cents bigint not null
);

create table reviews (
    id         bigint generated always as identity primary key,
    product_id bigint not null references products (id),
    stars      int not null
);
create index on reviews (product_id);

-- The product of a deleted or moved review must be in the replication stream.
alter table reviews replica identity full;

insert into products (name, cents) values ('Coat', 12900), ('Scarf', 2500);
insert into reviews (product_id, stars) values (1, 5), (1, 4);
