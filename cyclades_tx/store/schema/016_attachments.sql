-- Volumes on servers: where the data of one lie that no server has, what a user calls it there.
select 1;

-- A volume that was taken off a server keeps its disk: on a cluster, and with most kinds of disks
-- on a node of it. Only a server there can have it again.
alter table volume add column cluster_id bigint references cluster on delete set null;
alter table volume add column node text;
alter table volume add column attachment_tag text
    check (char_length(attachment_tag) between 1 and 60);
-- A disk that has left the configuration of a machine that still uses it: it is free when that is
-- next started.
alter table volume add column pending_restart text check (pending_restart = 'detach');
create index volume_cluster on volume (cluster_id) where cluster_id is not null;

-- The first disk is a volume of its own, which the Volume service shows.
alter table server add column boots_from_volume boolean not null default false;
