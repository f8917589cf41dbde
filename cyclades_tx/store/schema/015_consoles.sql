-- Consoles: tickets, and the sessions that they become.

create table console_session (
    id              bigint generated always as identity primary key,
    -- SHA-256 of the ticket, which itself is nowhere
    ticket_hash     bytea not null unique check (octet_length(ticket_hash) = 32),
    -- what the browser that opened it may open it again with, once, for a minute after its end
    successor_hash  bytea unique check (octet_length(successor_hash) = 32),
    kind            text not null check (kind in ('novnc', 'vnc')),
    -- a viewer's answer is made with its password: sealed, and forgotten soon after
    password        bytea,
    -- who asked, and the project of the token
    user_id         hex_id not null,
    project_id      hex_id not null,
    server_id       bigint not null references server on delete cascade,
    request_id      text not null default '',
    -- where the cluster itself said that the screen is
    node            text not null,
    node_address    inet not null,
    node_port       integer not null check (node_port between 1 and 65535),
    created_at      timestamptz not null default now(),
    -- the ticket's end
    expires_at      timestamptz not null,
    opened_at       timestamptz,
    -- the end of the longest session
    until_at        timestamptz,
    client          text not null default '' check (char_length(client) <= 255),
    -- the process that relays it says so now and then
    process         text not null default '',
    seen_at         timestamptz,
    -- an order to end it, and why
    closing         text,
    ended_at        timestamptz,
    reason          text not null default '',
    bytes_in        bigint not null default 0,
    bytes_out       bigint not null default 0,
    check (opened_at is null or until_at is not null),
    check ((ended_at is null) = (reason = ''))
);
create index console_session_open on console_session (server_id)
    where opened_at is not null and ended_at is null;
create index console_session_user on console_session (user_id) where ended_at is null;
create index console_session_age on console_session (created_at);

-- A session must end with its server's right to be looked at, whoever changes the server. The
-- condition is looked at first, so that other changes cost nothing.
create function tell_consoles() returns trigger language plpgsql as $$
begin
    if exists (select from console_session c where c.server_id = new.id
               and c.opened_at is not null and c.ended_at is null) then
        perform pg_notify('cyclades_consoles', 'server');
    end if;
    return null;
end
$$;
create trigger server_consoles after update on server for each row
    when (old.suspended is distinct from new.suspended
          or old.deleted_at is distinct from new.deleted_at
          or old.charge is distinct from new.charge
          or old.project_id is distinct from new.project_id
          or old.node is distinct from new.node
          or old.vnc_port is distinct from new.vnc_port)
    execute function tell_consoles();
