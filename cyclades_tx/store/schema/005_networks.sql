-- Networks, subnets, addresses, ports, floating IPs, security groups, routers, pools.

create table network (
    id               bigint generated always as identity primary key,
    uuid             uuid not null unique default gen_random_uuid(),
    name             text not null default '' check (char_length(name) <= 255),
    description      text not null default '' check (char_length(description) <= 255),
    project_id       hex_id references project,
    user_id          hex_id,
    flavor           text not null check (flavor in
        ('CUSTOM', 'IP_LESS_ROUTED', 'MAC_FILTERED', 'PHYSICAL_VLAN')),
    mode             text not null check (mode in ('bridged', 'routed')),
    link             text not null check (char_length(link) <= 32),
    mac_prefix       text not null check (mac_prefix ~ '^([0-9a-f]{2}:){2}[0-9a-f]{1,2}$'),
    tags             text[] not null default '{}',
    -- every project may attach to it
    shared           boolean not null default false,
    -- addresses of it are reachable from outside, and accounted
    external         boolean not null default false,
    floating_ip_pool boolean not null default false,
    -- no new addresses
    drained          boolean not null default false,
    admin_up         boolean not null default true,
    mtu              integer not null default 1500 check (mtu between 68 and 65535),
    state            text not null default 'active' check (state in ('active', 'error', 'deleted')),
    revision         integer not null default 1,
    created_at       timestamptz not null default now(),
    updated_at       timestamptz not null default now(),
    deleted_at       timestamptz,
    check ((state = 'deleted') = (deleted_at is not null)),
    check (not floating_ip_pool or external)
);
create index network_project on network (project_id) where deleted_at is null;
create index network_open on network (id) where (shared or external) and deleted_at is null;
create unique index network_vlan_link on network (link)
    where flavor = 'PHYSICAL_VLAN' and deleted_at is null;
create unique index network_routed_link on network (link)
    where flavor = 'IP_LESS_ROUTED' and deleted_at is null;
create unique index network_filtered_prefix on network (mac_prefix)
    where flavor = 'MAC_FILTERED' and deleted_at is null;

create table network_user_tag (
    network_id bigint not null references network on delete cascade,
    tag        text not null check (char_length(tag) between 1 and 255),
    primary key (network_id, tag)
);

create table subnet (
    id                bigint generated always as identity primary key,
    uuid              uuid not null unique default gen_random_uuid(),
    network_id        bigint not null references network,
    name              text not null default '' check (char_length(name) <= 255),
    description       text not null default '' check (char_length(description) <= 255),
    cidr              cidr not null,
    gateway           inet,
    dhcp              boolean not null default true,
    dns_nameservers   inet[] not null default '{}',
    host_routes       jsonb not null default '[]',
    ipv6_ra_mode      text check (ipv6_ra_mode in ('slaac', 'dhcpv6-stateful', 'dhcpv6-stateless')),
    ipv6_address_mode text check (ipv6_address_mode in
        ('slaac', 'dhcpv6-stateful', 'dhcpv6-stateless')),
    revision          integer not null default 1,
    created_at        timestamptz not null default now(),
    updated_at        timestamptz not null default now(),
    check (family(cidr) = 6 or (ipv6_ra_mode is null and ipv6_address_mode is null)),
    check (gateway is null or family(gateway) = family(cidr)),
    unique (network_id, cidr)
);

-- The addresses that may be given out, as ranges.
create table allocation_pool (
    subnet_id     bigint not null references subnet on delete cascade,
    first_address inet not null,
    last_address  inet not null,
    primary key (subnet_id, first_address),
    check (first_address <= last_address and family(first_address) = family(last_address))
);

-- What of the pools is free, as ranges: a /16 costs no more than a /30. Taking an address
-- shortens or splits one row, which is found with SKIP LOCKED; giving it back joins rows.
create table free_address_range (
    subnet_id     bigint not null references subnet on delete cascade,
    first_address inet not null,
    last_address  inet not null,
    primary key (subnet_id, first_address),
    check (first_address <= last_address and family(first_address) = family(last_address))
);
create index free_address_range_last on free_address_range (subnet_id, last_address);

create table port (
    id               bigint generated always as identity primary key,
    uuid             uuid not null unique default gen_random_uuid(),
    name             text not null default '' check (char_length(name) <= 255),
    description      text not null default '' check (char_length(description) <= 255),
    network_id       bigint not null references network,
    project_id       hex_id not null references project,
    user_id          hex_id not null,
    server_id        bigint references server,
    position         integer check (position >= 0),
    mac              macaddr not null,
    state            text not null default 'down' check (state in ('down', 'build', 'active', 'error')),
    admin_up         boolean not null default true,
    device_owner     text not null default '',
    router_id        bigint,
    firewall_profile text check (firewall_profile in ('ENABLED', 'DISABLED', 'PROTECTED')),
    -- made for a server by its creation: goes away with it
    automatic        boolean not null default false,
    revision         integer not null default 1,
    created_at       timestamptz not null default now(),
    updated_at       timestamptz not null default now(),
    unique (mac),
    check ((server_id is null) = (position is null))
);
create index port_server on port (server_id, position);
create index port_project on port (project_id);
create unique index port_server_position on port (server_id, position) where server_id is not null;

-- An address that is taken. Free ones are in free_address_range, and nowhere else.
create table address (
    id         bigint generated always as identity primary key,
    subnet_id  bigint not null references subnet,
    address    inet not null,
    port_id    bigint references port on delete restrict,
    created_at timestamptz not null default now(),
    unique (subnet_id, address)
);
create index address_port on address (port_id);

create table floating_ip (
    id          bigint generated always as identity primary key,
    uuid        uuid not null unique default gen_random_uuid(),
    address_id  bigint not null unique references address,
    network_id  bigint not null references network,
    project_id  hex_id not null references project,
    user_id     hex_id not null,
    description text not null default '' check (char_length(description) <= 255),
    -- the port of the user's that it was put on (the extra port is address.port_id's)
    port_id     bigint references port on delete set null,
    router_id   bigint,
    revision    integer not null default 1,
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now()
);
create index floating_ip_project on floating_ip (project_id);
create index floating_ip_port on floating_ip (port_id);

-- Who had which public address, on which server, from when to when. No foreign keys: it
-- outlives what it tells of.
create table address_history (
    id          bigint generated always as identity primary key,
    address     inet not null,
    network_id  bigint not null,
    server_id   bigint not null,
    user_id     hex_id not null,
    project_id  hex_id not null,
    taken_at    timestamptz not null default now(),
    released_at timestamptz
);
create index address_history_address on address_history (address, taken_at);
create index address_history_server on address_history (server_id);
create unique index address_history_open on address_history (network_id, address)
    where released_at is null;

create table security_group (
    id          bigint generated always as identity primary key,
    uuid        uuid not null unique default gen_random_uuid(),
    project_id  hex_id not null references project,
    name        text not null check (char_length(name) <= 255),
    description text not null default '' check (char_length(description) <= 255),
    stateful    boolean not null default true,
    revision    integer not null default 1,
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now()
);
create unique index security_group_default on security_group (project_id) where name = 'default';
create index security_group_project on security_group (project_id);

create table security_group_rule (
    id                bigint generated always as identity primary key,
    uuid              uuid not null unique default gen_random_uuid(),
    security_group_id bigint not null references security_group on delete cascade,
    direction         text not null check (direction in ('ingress', 'egress')),
    ethertype         text not null check (ethertype in ('IPv4', 'IPv6')),
    protocol          text,
    port_range_min    integer check (port_range_min between 0 and 65535),
    port_range_max    integer check (port_range_max between 0 and 65535),
    remote_prefix     cidr,
    remote_group_id   bigint references security_group on delete cascade,
    description       text not null default '' check (char_length(description) <= 255),
    created_at        timestamptz not null default now(),
    check (remote_prefix is null or remote_group_id is null)
);
create index security_group_rule_group on security_group_rule (security_group_id);
create index security_group_rule_remote on security_group_rule (remote_group_id);

create table port_security_group (
    port_id           bigint not null references port on delete cascade,
    security_group_id bigint not null references security_group,
    primary key (port_id, security_group_id)
);
create index port_security_group_group on port_security_group (security_group_id);

create table router (
    id                  bigint generated always as identity primary key,
    uuid                uuid not null unique default gen_random_uuid(),
    name                text not null default '' check (char_length(name) <= 255),
    description         text not null default '' check (char_length(description) <= 255),
    project_id          hex_id not null references project,
    admin_up            boolean not null default true,
    external_network_id bigint references network,
    external_snat       boolean not null default true,
    routes              jsonb not null default '[]',
    revision            integer not null default 1,
    created_at          timestamptz not null default now(),
    updated_at          timestamptz not null default now()
);
create index router_project on router (project_id);
create index router_external on router (external_network_id);
alter table port add foreign key (router_id) references router;
create index port_router on port (router_id);
alter table floating_ip add foreign key (router_id) references router on delete set null;
create index floating_ip_router on floating_ip (router_id);

-- A network as it stands on one cluster.
create table cluster_network (
    network_id bigint not null references network,
    cluster_id bigint not null references cluster on delete cascade,
    state      text not null default 'making' check (state in ('making', 'active', 'removing', 'error')),
    mac_prefix text not null check (mac_prefix ~ '^([0-9a-f]{2}:){2}[0-9a-f]{2}$'),
    reason     text not null default '',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (network_id, cluster_id)
);
create index cluster_network_cluster on cluster_network (cluster_id);

-- Pools of bridges and of MAC prefixes: what of each is free, as ranges of numbers.
create table value_pool (
    id         bigint generated always as identity primary key,
    kind       text not null check (kind in ('bridge', 'mac_prefix')),
    base       text not null,
    first_value bigint not null check (first_value >= 0),
    last_value  bigint not null,
    created_at timestamptz not null default now(),
    check (first_value <= last_value),
    unique (kind, base)
);
create table free_value_range (
    value_pool_id bigint not null references value_pool on delete cascade,
    first_value   bigint not null,
    last_value    bigint not null,
    primary key (value_pool_id, first_value),
    check (first_value <= last_value)
);
