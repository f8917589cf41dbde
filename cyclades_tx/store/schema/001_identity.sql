-- Who may do what: projects, users, roles, tokens, application credentials, login attempts.
-- Ids of projects and users are 32 hex digits, as OpenStack's clients write them in paths.

create domain hex_id as text check (value ~ '^[0-9a-f]{32}$');

create table project (
    id          hex_id primary key,
    name        text not null check (char_length(name) between 1 and 255),
    description text not null default '',
    enabled     boolean not null default true,
    created_at  timestamptz not null default now()
);
create unique index project_name on project (name);

create table user_account (
    id                  hex_id primary key,
    name                text not null check (char_length(name) between 1 and 255),
    description         text not null default '',
    email               text,
    enabled             boolean not null default true,
    -- algorithm, cost, salt and hash in one text; null: this user cannot log in with a password
    password_hash       text,
    password_changed_at timestamptz,
    default_project_id  hex_id references project on delete set null,
    created_at          timestamptz not null default now()
);
create unique index user_account_name on user_account (name);
create index user_account_default_project on user_account (default_project_id);

create table role (
    id   hex_id primary key,
    name text not null unique check (char_length(name) between 1 and 255)
);
insert into role (id, name) values
    ('a0000000000000000000000000000001', 'admin'),
    ('a0000000000000000000000000000002', 'member'),
    ('a0000000000000000000000000000003', 'reader');

create table role_assignment (
    user_id    hex_id not null references user_account on delete cascade,
    project_id hex_id not null references project on delete cascade,
    role_id    hex_id not null references role,
    primary key (user_id, project_id, role_id)
);
create index role_assignment_project on role_assignment (project_id);

create table application_credential (
    id           hex_id primary key,
    user_id      hex_id not null references user_account on delete cascade,
    project_id   hex_id not null references project on delete cascade,
    name         text not null check (char_length(name) between 1 and 255),
    description  text not null default '',
    secret_hash  text not null,
    role_ids     text[] not null,
    unrestricted boolean not null default false,
    expires_at   timestamptz,
    created_at   timestamptz not null default now(),
    unique (user_id, name)
);
create index application_credential_project on application_credential (project_id);

-- A token is found by the SHA-256 of its text; the text itself is nowhere.
create table token (
    hash                      bytea primary key check (octet_length(hash) = 32),
    user_id                   hex_id not null references user_account on delete cascade,
    project_id                hex_id references project on delete cascade,
    application_credential_id hex_id references application_credential on delete cascade,
    methods                   text[] not null,
    audit_ids                 text[] not null,
    issued_at                 timestamptz not null default now(),
    expires_at                timestamptz not null
);
create index token_user on token (user_id);
create index token_expiry on token (expires_at);
create index token_project on token (project_id);
create index token_application_credential on token (application_credential_id);

-- Failed logins of one name or one address within one window of time.
create table login_attempt (
    subject    text not null,
    window_at  timestamptz not null,
    failures   integer not null check (failures >= 0),
    primary key (subject, window_at)
);
create index login_attempt_window on login_attempt (window_at);
