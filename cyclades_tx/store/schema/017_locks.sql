-- Who locked a server: what an administrator has locked, its owner does not unlock.

alter table server add column locked_by_admin boolean not null default false,
    add check (locked or not locked_by_admin);
