-- What users are told: build progress, diagnostics, and events in one order for all readers.

-- How far the outbox got; a single row. It stays right when every event was thrown away.
create table outbox (
    only_one        boolean primary key default true check (only_one),
    -- the position that was given last
    last_position   bigint not null default 0,
    -- of the events up to here some may be thrown away
    pruned_position bigint not null default 0,
    check (pruned_position <= last_position)
);
insert into outbox default values;

-- The status in the last event about it: who tells of a server need not know what it was before.
alter table server add column told_status text;

-- The reason in the last event about it. Reasons are told now and then, not at each change.
alter table operation add column told_reason text not null default '';
create index operation_untold on operation (id)
    where finished_at is null and reason <> told_reason and reason <> '';

-- A message may come twice.
create unique index server_diagnostic_once on server_diagnostic
    (server_id, source_at, source, hashtextextended(message || coalesce(details, ''), 0))
    nulls not distinct;
