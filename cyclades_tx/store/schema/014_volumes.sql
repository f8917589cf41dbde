-- What the Volume service keeps beyond the volumes of servers.
select 1;

-- A volume that is offered to another project waits until it is taken, or the offer is withdrawn.
alter table volume drop constraint volume_status_check;
alter table volume add constraint volume_status_check check (status in
    ('creating', 'available', 'attaching', 'in_use', 'detaching', 'deleting', 'deleted',
     'error', 'error_deleting', 'extending', 'uploading', 'awaiting_transfer'));

-- The zone that was asked for; where the disk is, its server tells.
alter table volume add column availability_zone text check (char_length(availability_zone) <= 255);

-- A page of a project's volumes costs the same wherever it is; see server_live.
drop index volume_project;
create index volume_project on volume (project_id, created_at desc, id desc)
    where deleted_at is null and not local;
create index volume_live on volume ((created_at at time zone 'UTC'), id)
    where deleted_at is null and not local;

-- Offers of volumes. Whoever knows the key may take one; only its hash is kept.
create table volume_transfer (
    id         bigint generated always as identity primary key,
    uuid       uuid not null unique default gen_random_uuid(),
    volume_id  bigint not null unique references volume on delete cascade,
    name       text not null default '' check (char_length(name) <= 255),
    salt       bytea not null,
    key_hash   bytea not null,
    created_at timestamptz not null default now()
);

-- How many volumes a project may have is counted where they are made, as for server groups.
alter table project_limit drop constraint project_limit_name_check;
alter table project_limit add constraint project_limit_name_check
    check (name in ('server_groups', 'server_group_members', 'volumes'));
