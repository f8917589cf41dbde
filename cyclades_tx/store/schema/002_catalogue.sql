-- What servers are made of: disk types, flavors, images, key pairs.

create table volume_type (
    id            bigint generated always as identity primary key,
    uuid          uuid not null unique default gen_random_uuid(),
    name          text not null check (char_length(name) between 1 and 255),
    description   text not null default '',
    disk_template text not null check (disk_template in
        ('diskless', 'file', 'sharedfile', 'plain', 'drbd', 'rbd', 'blockdev', 'gluster', 'ext')),
    provider      text check ((provider is not null) = (disk_template = 'ext')),
    public        boolean not null default true,
    created_at    timestamptz not null default now(),
    deleted_at    timestamptz
);
create unique index volume_type_name on volume_type (name) where deleted_at is null;

-- Keys with the prefix GNT-EXTP: go to Ganeti as parameters of the disk.
create table volume_type_spec (
    volume_type_id bigint not null references volume_type on delete cascade,
    key            text not null check (char_length(key) between 1 and 255),
    value          text not null check (char_length(value) <= 255),
    primary key (volume_type_id, key)
);

create table flavor (
    id             bigint generated always as identity primary key,
    uuid           uuid not null unique default gen_random_uuid(),
    name           text not null check (char_length(name) between 1 and 255),
    description    text,
    vcpus          integer not null check (vcpus between 1 and 1024),
    memory_mib     integer not null check (memory_mib between 1 and 16777216),
    disk_gib       integer not null check (disk_gib between 0 and 1048576),
    volume_type_id bigint not null references volume_type,
    allow_create   boolean not null default true,
    public         boolean not null default true,
    created_at     timestamptz not null default now(),
    deleted_at     timestamptz
);
create unique index flavor_name on flavor (name) where deleted_at is null;
create index flavor_volume_type on flavor (volume_type_id);

create table flavor_spec (
    flavor_id bigint not null references flavor on delete cascade,
    key       text not null check (char_length(key) between 1 and 255),
    value     text not null check (char_length(value) <= 255),
    primary key (flavor_id, key)
);

create table flavor_access (
    flavor_id  bigint not null references flavor on delete cascade,
    project_id hex_id not null references project on delete cascade,
    primary key (flavor_id, project_id)
);
create index flavor_access_project on flavor_access (project_id);

create table image (
    id               bigint generated always as identity primary key,
    uuid             uuid not null unique default gen_random_uuid(),
    project_id       hex_id references project,
    user_id          hex_id,
    name             text check (char_length(name) <= 255),
    status           text not null default 'queued' check (status in
        ('queued', 'saving', 'importing', 'active', 'deactivated', 'killed', 'deleted')),
    visibility       text not null default 'shared' check (visibility in
        ('public', 'private', 'shared', 'community')),
    protected        boolean not null default false,
    hidden           boolean not null default false,
    snapshot         boolean not null default false,
    min_disk_gib     integer not null default 0 check (min_disk_gib >= 0),
    min_memory_mib   integer not null default 0 check (min_memory_mib >= 0),
    size_bytes       bigint check (size_bytes >= 0),
    virtual_bytes    bigint check (virtual_bytes >= 0),
    md5              text,
    hash_algorithm   text,
    hash_value       text,
    disk_format      text check (disk_format in ('raw', 'qcow2', 'vmdk', 'vhd', 'vhdx', 'vdi',
        'iso', 'ploop', 'ami', 'ari', 'aki', 'diskdump', 'extdump', 'ntfsdump', 'none')),
    container_format text check (container_format in
        ('bare', 'ami', 'ari', 'aki', 'ovf', 'ova', 'docker')),
    -- what Ganeti's OS definition gets as img_id; never shown to users
    location         text,
    created_at       timestamptz not null default now(),
    updated_at       timestamptz not null default now(),
    deleted_at       timestamptz,
    check ((status = 'deleted') = (deleted_at is not null)),
    check (status <> 'active' or (disk_format is not null and container_format is not null))
);
create index image_project on image (project_id) where deleted_at is null;
create index image_visible on image (visibility, created_at desc, id desc) where deleted_at is null;

create table image_property (
    image_id bigint not null references image on delete cascade,
    key      text not null check (char_length(key) between 1 and 255),
    value    text not null,
    primary key (image_id, key)
);

create table image_tag (
    image_id bigint not null references image on delete cascade,
    tag      text not null check (char_length(tag) between 1 and 255),
    primary key (image_id, tag)
);

create table image_member (
    image_id   bigint not null references image on delete cascade,
    project_id hex_id not null references project on delete cascade,
    status     text not null default 'pending' check (status in ('pending', 'accepted', 'rejected')),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (image_id, project_id)
);
create index image_member_project on image_member (project_id);

create table key_pair (
    id          bigint generated always as identity primary key,
    user_id     hex_id not null references user_account on delete cascade,
    name        text not null check (char_length(name) between 1 and 255),
    type        text not null default 'ssh' check (type in ('ssh', 'x509')),
    public_key  text not null check (char_length(public_key) <= 30000),
    fingerprint text not null,
    created_at  timestamptz not null default now(),
    unique (user_id, name)
);
