-- Everything in motion: operations with their jobs, quota holdings with reservations, and the
-- outbox of events.

create table operation (
    id           bigint generated always as identity primary key,
    uuid         uuid not null unique default gen_random_uuid(),
    kind         text not null check (kind in
        ('create', 'delete', 'start', 'stop', 'reboot', 'resize', 'rebuild', 'rescue', 'unrescue',
         'attach_port', 'detach_port', 'attach_volume', 'detach_volume', 'extend_volume',
         'snapshot', 'firewall', 'tags', 'make_network', 'remove_network')),
    -- pending: nothing was sent; submitting: a request may be on its way; submitted: a job is known
    state        text not null default 'pending' check (state in
        ('pending', 'submitting', 'submitted', 'succeeded', 'failed', 'canceled')),
    server_id    bigint references server,
    network_id   bigint references network,
    volume_id    bigint references volume,
    cluster_id   bigint not null references cluster,
    project_id   hex_id,
    user_id      hex_id,
    request_id   text not null default '',
    arguments    jsonb not null default '{}',
    -- the step that is being done, and how often it was tried: both end in the job's reason
    step         text not null default '',
    attempt      integer not null default 0,
    -- a sentence for a person: why it waits, or why it failed
    reason       text not null default '',
    progress     smallint not null default 0 check (progress between 0 and 100),
    job_id       bigint,
    job_status   text,
    failures     integer not null default 0,
    wake_at      timestamptz not null default now(),
    created_at   timestamptz not null default now(),
    started_at   timestamptz,
    submitted_at timestamptz,
    deadline_at  timestamptz not null,
    finished_at  timestamptz,
    check ((state in ('succeeded', 'failed', 'canceled')) = (finished_at is not null)),
    check (state <> 'submitted' or job_id is not null),
    check (num_nonnulls(server_id, network_id, volume_id) >= 1),
    check (deadline_at > created_at)
);
-- One open change per server, and beside it at most one open delete, which cancels what waits
-- and follows what runs.
create unique index operation_open_change on operation (server_id)
    where finished_at is null and kind <> 'delete' and server_id is not null;
create unique index operation_open_delete on operation (server_id)
    where finished_at is null and kind = 'delete' and server_id is not null;
create unique index operation_open_network on operation (network_id, cluster_id)
    where finished_at is null and server_id is null and network_id is not null;
create index operation_open_cluster on operation (cluster_id, wake_at) where finished_at is null;
create index operation_server on operation (server_id, id desc);
create index operation_network on operation (network_id);
create index operation_volume on operation (volume_id);

-- The jobs that an operation sent, and how each ended.
create table operation_step (
    operation_id bigint not null references operation on delete cascade,
    step         text not null,
    attempt      integer not null,
    job_id       bigint,
    started_at   timestamptz not null default now(),
    finished_at  timestamptz,
    result       text check (result in ('success', 'error', 'canceled', 'unknown')),
    message      text not null default '',
    primary key (operation_id, step, attempt)
);

-- What a project may hold and holds of each resource. A null limit is no limit.
create table holding (
    project_id hex_id not null references project on delete cascade,
    resource   text not null,
    maximum    bigint check (maximum >= 0),
    used       bigint not null default 0 check (used >= 0),
    reserved   bigint not null default 0 check (reserved >= 0),
    primary key (project_id, resource)
);

-- What an open operation will add to (or, negative, take from) the holdings when it succeeds.
-- Positive amounts are in holding.reserved meanwhile.
create table reservation (
    operation_id bigint not null references operation on delete cascade,
    project_id   hex_id not null,
    resource     text not null,
    amount       bigint not null check (amount <> 0),
    primary key (operation_id, project_id, resource),
    foreign key (project_id, resource) references holding
);
create index reservation_holding on reservation (project_id, resource);

-- What users may be told. The position is given after the commit, by one publisher at a time,
-- so that readers by position never miss a row.
create table event (
    id         bigint generated always as identity primary key,
    position   bigint unique,
    at         timestamptz not null default now(),
    kind       text not null,
    project_id hex_id,
    subject    text not null,
    body       jsonb not null
);
create index event_unpublished on event (id) where position is null;
create index event_project on event (project_id, position) where position is not null;

-- Requests that may be repeated: the answer to the first is given to each repeat.
create table idempotency_key (
    project_id hex_id not null,
    user_id    hex_id not null,
    key        text not null check (char_length(key) between 1 and 255),
    request    bytea not null,
    status     integer,
    body       bytea,
    created_at timestamptz not null default now(),
    primary key (project_id, user_id, key)
);
create index idempotency_key_age on idempotency_key (created_at);
