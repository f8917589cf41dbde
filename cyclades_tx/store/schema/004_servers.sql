-- Servers and what belongs to one.

create table server (
    id                bigint generated always as identity primary key,
    uuid              uuid not null unique default gen_random_uuid(),
    name              text not null check (char_length(name) between 1 and 255),
    hostname          text not null default '',
    description       text check (char_length(description) <= 255),
    user_id           hex_id not null,
    project_id        hex_id not null references project,
    shared_to_project boolean not null default false,
    cluster_id        bigint references cluster,
    flavor_id         bigint not null references flavor,
    -- the sizes that are charged: the flavor's at creation or resize, or what the cluster says
    vcpus             integer not null check (vcpus > 0),
    memory_mib        integer not null check (memory_mib > 0),
    image_id          bigint references image,
    rescue_image_id   bigint references image,
    key_name          text,
    availability_zone text,
    config_drive      boolean not null default false,
    access_ipv4       inet check (family(access_ipv4) = 4),
    access_ipv6       inet check (family(access_ipv6) = 6),
    disk_config       text not null default 'MANUAL' check (disk_config in ('MANUAL', 'AUTO')),
    -- sealed with the keyring, bound to this row
    user_data         bytea,
    reservation_id    text not null,
    locked            boolean not null default false,
    locked_reason     text check (char_length(locked_reason) <= 255),
    suspended         boolean not null default false,
    helper            boolean not null default false,
    -- 'resized': a resize waits to be confirmed or reverted
    state             text not null default 'building' check (state in
        ('building', 'active', 'stopped', 'resized', 'rescued', 'error', 'deleted')),
    -- what the project is charged for: nothing, a stopped machine, or a running one
    charge            text not null default 'none' check (charge in ('none', 'off', 'on')),
    fault_code        integer,
    fault_message     text,
    fault_at          timestamptz,
    -- what was last seen at the cluster
    ganeti_status     text,
    ganeti_serial     bigint,
    node              text,
    vnc_port          integer,
    seen_at           timestamptz,
    created_at        timestamptz not null default now(),
    updated_at        timestamptz not null default now(),
    launched_at       timestamptz,
    terminated_at     timestamptz,
    deleted_at        timestamptz,
    check ((state = 'deleted') = (deleted_at is not null)),
    check (state <> 'deleted' or charge = 'none'),
    check ((fault_message is null) = (fault_at is null)),
    check (charge = 'none' or cluster_id is not null)
);
create index server_project_live on server (project_id, created_at desc, id desc)
    where deleted_at is null;
create index server_live on server (created_at desc, id desc) where deleted_at is null;
create index server_project_updated on server (project_id, updated_at);
create index server_cluster_live on server (cluster_id, id) where deleted_at is null;
create index server_flavor on server (flavor_id);
create index server_image on server (image_id);

create table server_metadata (
    server_id bigint not null references server on delete cascade,
    key       text not null check (char_length(key) between 1 and 255),
    value     text not null check (char_length(value) <= 255),
    primary key (server_id, key)
);

create table server_tag (
    server_id bigint not null references server on delete cascade,
    tag       text not null check (char_length(tag) between 1 and 60),
    primary key (server_id, tag)
);
create index server_tag_tag on server_tag (tag);

create table server_diagnostic (
    id         bigint generated always as identity primary key,
    server_id  bigint not null references server on delete cascade,
    level      text not null check (level in ('DEBUG', 'INFO', 'WARNING', 'ERROR')),
    source     text not null,
    source_at  timestamptz,
    message    text not null,
    details    text,
    created_at timestamptz not null default now()
);
create index server_diagnostic_server on server_diagnostic (server_id, id desc);

create table server_group (
    id         bigint generated always as identity primary key,
    uuid       uuid not null unique default gen_random_uuid(),
    project_id hex_id not null references project,
    user_id    hex_id not null,
    name       text not null check (char_length(name) between 1 and 255),
    policy     text not null check (policy in
        ('affinity', 'anti-affinity', 'soft-affinity', 'soft-anti-affinity')),
    created_at timestamptz not null default now()
);
create index server_group_project on server_group (project_id);

create table server_group_member (
    server_group_id bigint not null references server_group on delete cascade,
    server_id       bigint not null unique references server on delete cascade,
    primary key (server_group_id, server_id)
);
