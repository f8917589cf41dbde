-- The Ganeti clusters, which projects may use them, and which process drives each.

create table cluster (
    id                  bigint generated always as identity primary key,
    uuid                uuid not null unique default gen_random_uuid(),
    name                text not null unique check (name ~ '^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,253}[a-zA-Z0-9])?$'),
    -- the smallest free number at the time of adding; ends in MAC prefixes
    position            integer not null unique check (position between 0 and 4095),
    rapi_scheme         text not null default 'https' check (rapi_scheme in ('http', 'https')),
    rapi_host           text not null check (rapi_host <> ''),
    rapi_port           integer not null default 5080 check (rapi_port between 1 and 65535),
    rapi_username       text not null,
    -- sealed with the keyring, bound to this row
    rapi_password       bytea not null,
    -- PEM of the certificate to trust (pinned); null: the system's authorities and the host name
    certificate         text,
    -- grows with each change of address or credentials, so that clients are made anew
    credentials_version integer not null default 1,
    drained             boolean not null default true,
    offline             boolean not null default false,
    public              boolean not null default true,
    hypervisor          text not null default 'kvm' check (hypervisor in
        ('kvm', 'xen-pvm', 'xen-hvm', 'fake', 'chroot', 'lxc')),
    hotplug             boolean not null default false,
    disk_templates      text[] not null default '{}',
    version             text not null default '',
    node_groups         text[] not null default '{}',
    memory_free_mib     bigint not null default 0,
    memory_total_mib    bigint not null default 0,
    disk_free_mib       bigint not null default 0,
    disk_total_mib      bigint not null default 0,
    cpus                integer not null default 0,
    instances           integer not null default 0,
    statistics_at       timestamptz,
    -- what the driver last found: whether the cluster answers, and if not, why
    reachable           boolean,
    unreachable_reason  text not null default '',
    reachable_changed_at timestamptz,
    created_at          timestamptz not null default now()
);

create table cluster_project (
    cluster_id bigint not null references cluster on delete cascade,
    project_id hex_id not null references project on delete cascade,
    primary key (cluster_id, project_id)
);
create index cluster_project_project on cluster_project (project_id);

-- The processes of the service that run loops: each says here that it is alive.
create table process (
    driver   text primary key,
    beaten_at timestamptz not null default now()
);

-- One process drives a cluster at a time. It holds an advisory lock, and every write of its
-- loops checks the epoch, which grows with each take-over. The beats are not here: a write of a
-- loop holds this row with FOR SHARE, and a beat must never wait for one.
create table cluster_lease (
    cluster_id bigint primary key references cluster on delete cascade,
    epoch      bigint not null default 0,
    driver     text not null default ''
);
