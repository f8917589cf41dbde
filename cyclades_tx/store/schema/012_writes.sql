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

-- Tags of everything else that Network has.
create table port_user_tag (
    port_id bigint not null references port on delete cascade,
    tag     text not null check (char_length(tag) between 1 and 255),
    primary key (port_id, tag)
);
create table router_user_tag (
    router_id bigint not null references router on delete cascade,
    tag       text not null check (char_length(tag) between 1 and 255),
    primary key (router_id, tag)
);
create table floating_ip_user_tag (
    floating_ip_id bigint not null references floating_ip on delete cascade,
    tag            text not null check (char_length(tag) between 1 and 255),
    primary key (floating_ip_id, tag)
);
create table security_group_user_tag (
    security_group_id bigint not null references security_group on delete cascade,
    tag               text not null check (char_length(tag) between 1 and 255),
    primary key (security_group_id, tag)
);

-- A floating IP needs no router: the one that is shown beside it follows from where it is.
alter table floating_ip drop column router_id;
create index port_router_network on port (network_id) where router_id is not null;

-- Ranges from which subnets are cut.
create table subnet_pool (
    id                bigint generated always as identity primary key,
    uuid              uuid not null unique default gen_random_uuid(),
    name              text not null check (char_length(name) <= 255),
    description       text not null default '' check (char_length(description) <= 255),
    project_id        hex_id not null references project,
    ip_version        smallint not null check (ip_version in (4, 6)),
    min_prefixlen     smallint not null check (min_prefixlen >= 0),
    default_prefixlen smallint not null,
    max_prefixlen     smallint not null check (max_prefixlen <= 128),
    -- what one project may cut from it: IPv4 addresses, or /64 of IPv6; null: no limit
    default_quota     bigint check (default_quota >= 0),
    shared            boolean not null default false,
    is_default        boolean not null default false,
    revision          integer not null default 1,
    created_at        timestamptz not null default now(),
    updated_at        timestamptz not null default now(),
    check (min_prefixlen <= default_prefixlen and default_prefixlen <= max_prefixlen)
);
create index subnet_pool_project on subnet_pool (project_id);
create unique index subnet_pool_default on subnet_pool (ip_version) where is_default;
create table subnet_pool_prefix (
    subnet_pool_id bigint not null references subnet_pool on delete cascade,
    prefix         cidr not null,
    primary key (subnet_pool_id, prefix)
);
-- What of the prefixes is free, as the fewest prefixes. Taking one halves a larger one until it
-- fits; giving it back joins halves. Whoever changes it has locked the pool's row.
create table subnet_pool_free (
    subnet_pool_id bigint not null references subnet_pool on delete cascade,
    prefix         cidr not null,
    primary key (subnet_pool_id, prefix)
);
create table subnet_pool_user_tag (
    subnet_pool_id bigint not null references subnet_pool on delete cascade,
    tag            text not null check (char_length(tag) between 1 and 255),
    primary key (subnet_pool_id, tag)
);
alter table subnet add column subnet_pool_id bigint references subnet_pool;
create index subnet_of_pool on subnet (subnet_pool_id) where subnet_pool_id is not null;

-- Servers whose interfaces' rules have changed since their firewall tags were set. No foreign
-- key: whoever changes a rule must not wait for servers.
create table firewall_wish (
    server_id bigint primary key,
    asked_at  timestamptz not null default now()
);

-- A page of a project's things costs the same wherever it is, and whatever other projects have.
-- What a project's rows are ordered by is an expression that no index over all rows has (and the
-- other way round for servers): else that one is taken where a project has a large share, and the
-- rows of the others are read too.
drop index server_live, network_project, network_open, port_project, floating_ip_project,
    router_project, security_group_project;
create index server_live on server ((created_at at time zone 'UTC'), id) where deleted_at is null;
create index network_project on network (project_id, (id + 0)) where deleted_at is null;
create index network_open on network ((id + 0)) where (shared or external) and deleted_at is null;
create index port_project on port (project_id, (id + 0));
create index floating_ip_project on floating_ip (project_id, (id + 0)) where released_at is null;
create index router_project on router (project_id, (id + 0));
create index security_group_project on security_group (project_id, (id + 0));
create index port_network on port (network_id);

-- A default group lets in what comes from its own members; those from before did not say so.
insert into security_group_rule (security_group_id, direction, ethertype, remote_group_id)
select g.id, 'ingress', e.name, g.id
from security_group g cross join (values ('IPv4'), ('IPv6')) as e (name)
where g.name = 'default' and not exists (
    select from security_group_rule r where r.security_group_id = g.id and r.direction = 'ingress')
on conflict do nothing;
