-- What messages have told of jobs, each opcode at the furthest status that was told of it.
-- Facts wake whoever drives the cluster; they are never the truth about a server. They may be
-- thrown away at any time, so nothing refers to them, and they refer to nothing.

create table job_fact (
    cluster_id  bigint not null,
    job_id      bigint not null,
    opcode      text not null,
    -- whom it concerns: o42 (the instance of server 42), n7 (network 7), refresh (the cluster)
    subject     text not null,
    -- -1: the message did not say which opcode of its job it is
    op_index    smallint not null,
    -- 0: the message did not say how many opcodes the job has
    job_ops     smallint not null,
    status      text not null,
    -- the order of the statuses; from 4 on it is an end
    rank        smallint not null,
    -- by the cluster's clock: for people
    event_at    timestamptz not null,
    told_at     timestamptz not null default now(),
    -- when an end was first told; null: not yet
    finished_at timestamptz,
    created_at  timestamptz not null default now(),
    primary key (cluster_id, job_id, opcode, subject, op_index)
) with (fillfactor = 80);
-- No column of an index changes, so that an update touches the table alone.
create index job_fact_age on job_fact (created_at);
