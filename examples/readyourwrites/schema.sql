create table notes (
    id   bigint primary key,
    text text not null
);

insert into notes values (1, 'the first');
