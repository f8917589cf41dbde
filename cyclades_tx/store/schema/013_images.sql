-- What the bytes of images need.
select 1;

alter table image
    -- the object in our own store that holds the bytes; null: they lie elsewhere, or nowhere
    add column object_name  text unique check (object_name ~ '^[0-9a-f]{32}$'),
    -- the object that is being written, by whom nobody else may; it is alive while it is seen
    add column upload_name  text unique check (upload_name ~ '^[0-9a-f]{32}$'),
    add column upload_seen_at timestamptz,
    -- how long it will be, where that was said before
    add column upload_bytes bigint check (upload_bytes >= 0),
    -- why the last upload or import has failed, for its owner and the operator
    add column upload_error text;
alter table image drop constraint image_status_check;
alter table image add constraint image_status_check check (status in ('queued', 'saving',
    'uploading', 'importing', 'active', 'deactivated', 'killed', 'deleted'));
alter table image add check ((upload_name is null) = (upload_seen_at is null));
create index image_upload on image (upload_seen_at) where upload_name is not null;
create index image_leaves on image (id) where deleted_at is not null and object_name is not null;

-- Marks the store whose objects belong to this database, so that no other one cleans up there.
create table image_store (identity uuid primary key default gen_random_uuid());
insert into image_store default values;
