-- Volumes and snapshots. A server's own root disk is a volume with local = true, which the
-- Volume service does not show.

create table volume (
    id                    bigint generated always as identity primary key,
    uuid                  uuid not null unique default gen_random_uuid(),
    name                  text not null default '' check (char_length(name) <= 255),
    description           text check (char_length(description) <= 255),
    user_id               hex_id not null,
    project_id            hex_id not null references project,
    shared_to_project     boolean not null default false,
    size_gib              integer not null check (size_gib >= 0),
    volume_type_id        bigint not null references volume_type,
    local                 boolean not null default false,
    bootable              boolean not null default false,
    delete_on_termination boolean not null default true,
    source_kind           text check (source_kind in ('image', 'snapshot', 'volume')),
    source_uuid           uuid,
    status                text not null default 'creating' check (status in
        ('creating', 'available', 'attaching', 'in_use', 'detaching', 'deleting', 'deleted',
         'error', 'error_deleting', 'extending', 'uploading')),
    server_id             bigint references server,
    position              integer check (position >= 0),
    -- whether a cluster has ever made it, so that there is something to remove
    initialised           boolean not null default false,
    snapshot_counter      integer not null default 0,
    created_at            timestamptz not null default now(),
    updated_at            timestamptz not null default now(),
    deleted_at            timestamptz,
    check ((status = 'deleted') = (deleted_at is not null)),
    check ((server_id is null) = (position is null)),
    check ((source_kind is null) = (source_uuid is null))
);
create unique index volume_server_position on volume (server_id, position)
    where server_id is not null and deleted_at is null;
create index volume_project on volume (project_id) where deleted_at is null;

create table volume_metadata (
    volume_id bigint not null references volume on delete cascade,
    key       text not null check (char_length(key) between 1 and 255),
    value     text not null check (char_length(value) <= 255),
    primary key (volume_id, key)
);

create table snapshot (
    id          bigint generated always as identity primary key,
    uuid        uuid not null unique default gen_random_uuid(),
    volume_id   bigint not null references volume,
    project_id  hex_id not null references project,
    user_id     hex_id not null,
    name        text not null default '' check (char_length(name) <= 255),
    description text check (char_length(description) <= 255),
    size_gib    integer not null check (size_gib > 0),
    status      text not null default 'creating' check (status in
        ('creating', 'available', 'deleting', 'deleted', 'error', 'error_deleting')),
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now(),
    deleted_at  timestamptz,
    check ((status = 'deleted') = (deleted_at is not null))
);
create index snapshot_volume on snapshot (volume_id);
create index snapshot_project on snapshot (project_id) where deleted_at is null;
