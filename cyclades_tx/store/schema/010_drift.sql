-- What the loops of drift have found, and by what our things are known at Ganeti.

-- Ganeti's own ids: by them an interface or a disk that an operator added, under a name of his or
-- none at all, is known again.
alter table port add column ganeti_uuid text not null default '';
alter table volume add column ganeti_uuid text not null default '';

-- One thing that is, or was, wrong between our records and a cluster. It is open until it was
-- mended or is no longer found; grace times and failures count over restarts.
create table drift_finding (
    id            bigint generated always as identity primary key,
    cluster_id    bigint not null references cluster on delete cascade,
    kind          text not null check (char_length(kind) between 1 and 64),
    subject       text not null check (char_length(subject) between 1 and 255),
    server_id     bigint,
    sentence      text not null,
    -- what is done about it, in the planner's word and for a person
    remedy        text not null,
    plan          text not null default '',
    first_seen_at timestamptz not null default now(),
    last_seen_at  timestamptz not null default now(),
    -- tries in a row that did not help, and why the last one did not
    failures      integer not null default 0,
    trouble       text not null default '',
    -- when an operator asked for it to be mended now
    wanted_at     timestamptz,
    -- the job that removes the instance
    job_id        bigint,
    attempted_at  timestamptz,
    -- when it was no longer found, and whether that was our doing
    remedied_at   timestamptz,
    mended        boolean not null default false
);
create unique index drift_finding_open on drift_finding (cluster_id, kind, subject)
    where remedied_at is null;
create index drift_finding_server on drift_finding (server_id) where remedied_at is null;
create index drift_finding_age on drift_finding (remedied_at) where remedied_at is not null;

-- When a cluster was last looked at as a whole.
create table drift_look (
    cluster_id bigint primary key references cluster on delete cascade,
    looked_at  timestamptz not null,
    seconds    double precision not null,
    instances  integer not null,
    servers    integer not null
);
