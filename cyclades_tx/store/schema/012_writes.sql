-- What the writes of Compute and Network need on top.
select 1;

-- Limits of what is counted where it is made, not held: server groups and their members. Without
-- a row the default counts; -1 is no limit.
create table project_limit (
    project_id hex_id not null references project on delete cascade,
    name       text not null check (name in ('server_groups', 'server_group_members')),
    maximum    bigint not null check (maximum >= -1),
    primary key (project_id, name)
);

-- What one user may have of a project's servers: below the project's own limit.
create table user_limit (
    project_id hex_id not null references project on delete cascade,
    user_id    hex_id not null references user_account on delete cascade,
    name       text not null check (name in ('instances', 'cores', 'ram')),
    maximum    bigint not null check (maximum >= 0),
    primary key (project_id, user_id, name)
);
create index user_limit_user on user_limit (user_id);

-- What a project may have when nothing else was said for it, in place of the configuration's
-- words: by resource (in bytes or pieces), or by the name in project_limit; -1 is no limit.
create table quota_default (
    name    text primary key,
    maximum bigint not null check (maximum >= -1)
);

-- At most so many servers of an anti-affinity group on one cluster; null: one.
alter table server_group add column most_per_host integer check (most_per_host > 0);

-- An interface that was added to, or taken from, a running machine which has not taken notice: the
-- change has its effect at the machine's next start. One that leaves keeps its port and addresses
-- until then, since the machine still uses them.
alter table port add column pending_restart text check (pending_restart in ('attach', 'detach'));

-- A floating IP that was released while its interface is being removed: it goes with the interface.
alter table floating_ip add column released_at timestamptz;

-- The same rule twice in one group means nothing.
create unique index security_group_rule_same on security_group_rule (security_group_id, direction,
    ethertype, protocol, port_range_min, port_range_max, remote_prefix, remote_group_id)
    nulls not distinct;

-- Whether every cluster has the network, or only those whose servers need it.
alter table network add column everywhere boolean not null default true;

create table subnet_user_tag (
    subnet_id bigint not null references subnet on delete cascade,
    tag       text not null check (char_length(tag) between 1 and 255),
    primary key (subnet_id, tag)
);

-- Values of a pool that no network gets: an operator uses them otherwise.
create table reserved_value (
    value_pool_id bigint not null references value_pool on delete cascade,
    value         bigint not null,
    primary key (value_pool_id, value)
);

-- Addresses of a subnet that nobody gets: an operator uses them otherwise. Like those that a
-- cluster reserves, such an address row has neither a port nor a floating IP.
create table address_kept (
    address_id bigint primary key references address on delete cascade,
    created_at timestamptz not null default now()
);

-- What a server was before its resize, until that is confirmed or reverted.
alter table server add column old_flavor_id bigint references flavor;
alter table server add column resized_at timestamptz;
create index server_resized on server (resized_at) where resized_at is not null;

-- The reply is kept sealed, since some hold a secret; its headers beside it.
alter table idempotency_key add column headers jsonb not null default '{}';
alter table idempotency_key add column request_id text not null default '';
