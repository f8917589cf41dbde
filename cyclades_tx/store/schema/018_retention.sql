-- What is over for long is thrown away: whatever points at it is found by an index.
select 1;

create index volume_server on volume (server_id) where server_id is not null;
create index console_session_server on console_session (server_id);
create index server_rescue_image on server (rescue_image_id) where rescue_image_id is not null;
create index floating_ip_network on floating_ip (network_id);
