-- Networks, addresses, pools and holdings: what is reserved elsewhere, what was found wrong, and
-- whose turn it is to look.

-- An address that a cluster gives to no instance, so that nobody gets it here either. Its address
-- row has neither a port nor a floating IP; without such a row it would be a leaked address.
create table address_reservation (
    address_id bigint not null references address on delete cascade,
    cluster_id bigint not null references cluster on delete cascade,
    created_at timestamptz not null default now(),
    primary key (address_id, cluster_id)
);
create index address_reservation_cluster on address_reservation (cluster_id);

-- The networks of a cluster, and the books (addresses, pools, holdings), are looked through from
-- time to time by whichever process comes first; this says when, and what came of it.
create table upkeep (
    name     text primary key,
    driver   text not null default '',
    began_at timestamptz not null,
    ended_at timestamptz,
    found    integer not null default 0,
    mended   integer not null default 0,
    problem  text not null default ''
);

-- What was found wrong with networks, pools and holdings and is not mended yet. What concerns no
-- cluster has none. A finding that is not found again is gone.
create table upkeep_finding (
    id            bigint generated always as identity primary key,
    area          text not null check (area in ('networks', 'pools', 'quotas')),
    cluster_id    bigint references cluster on delete cascade,
    kind          text not null,
    subject       text not null,
    sentence      text not null,
    -- what is done about it: record, make, remove, or nothing before an operator has decided
    remedy        text not null check (remedy in ('record', 'make', 'remove', 'operator')),
    -- the loop leaves it to an operator: it cannot mend it, or has tried often enough
    left_alone    boolean not null default false,
    first_seen_at timestamptz not null default now(),
    last_seen_at  timestamptz not null default now(),
    unique nulls not distinct (area, cluster_id, kind, subject)
);
create index upkeep_finding_cluster on upkeep_finding (cluster_id);
