"""Rows of many projects, made by PostgreSQL itself: servers, their ports, networks, subnets.

Each row has its fellows: server 7 has port 7, which has an address in the subnet of network 7. The
projects' rows lie between each other as if they had been made in any order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: What the rows are made of: ``crowd_row`` has their number and owner, in the order of making.
_OWNERS = """
create temporary table crowd_row as
select row_number() over (order by md5(one.project_id || one.number)) as n, one.project_id
from (
    select wanted.project_id, generate_series(1, wanted.rows) as number
    from unnest(%(projects)s::text[], %(rows)s::bigint[]) as wanted (project_id, rows)
) as one;
create temporary table crowd_base as select
    (select coalesce(max(id), 0) from server) as server,
    (select coalesce(max(id), 0) from network) as network,
    (select coalesce(max(id), 0) from subnet) as subnet,
    (select coalesce(max(id), 0) from port) as port,
    (select min(id) from flavor) as flavor,
    (select min(id) from image) as image;
"""

# The networks are on no cluster and the servers on one that is switched off: nobody looks for
# them, and only the lists are measured.
_ROWS = """
insert into project (id, name) select found.id, 'crowd ' || found.id
from unnest(%(projects)s::text[]) as found (id) on conflict do nothing;
insert into security_group (project_id, name) select found.id, 'default'
from unnest(%(projects)s::text[]) as found (id)
where not exists (select from security_group s where s.project_id = found.id);
insert into cluster (name, position, rapi_host, rapi_username, rapi_password, offline)
select 'crowd.example.org', 4095, '127.0.0.1', 'nobody', '', true
where not exists (select from cluster where position = 4095);

insert into network (id, name, project_id, flavor, mode, link, mac_prefix, everywhere, created_at)
overriding system value
select base.network + n, 'net-' || n, project_id, 'MAC_FILTERED', 'bridged', 'prv0',
    regexp_replace(lpad(to_hex(x'b00000'::bigint + base.network + n), 6, '0'),
        '(..)(..)(..)', '\\1:\\2:\\3'),
    false, now() - interval '30 days' + n * interval '1 second'
from crowd_row, crowd_base base order by n;
insert into subnet (id, network_id, name, cidr, gateway) overriding system value
select base.subnet + n, base.network + n, 'subnet-' || n, '192.168.7.0/24', '192.168.7.1'
from crowd_row, crowd_base base order by n;
insert into server (id, name, hostname, user_id, project_id, cluster_id, flavor_id, vcpus,
    memory_mib, image_id, reservation_id, state, charge, ganeti_status, node, created_at,
    updated_at, launched_at)
overriding system value
select base.server + n, 'server-' || n, 'server-' || n, %(user)s, project_id, c.id, base.flavor,
    1, 512, base.image, 'r-1', 'active', 'on', 'running', 'node1.example.org',
    now() - interval '30 days' + n * interval '1 second',
    now() - interval '30 days' + n * interval '1 second', now() - interval '29 days'
from crowd_row, crowd_base base, cluster c where c.position = 4095 order by n;
insert into port (id, network_id, project_id, user_id, server_id, position, mac, state, automatic,
    device_owner)
overriding system value
select base.port + n, base.network + n, project_id, %(user)s, base.server + n, 0,
    ('bb' || lpad(to_hex(base.port + n), 10, '0'))::macaddr, 'active', true, 'compute:nova'
from crowd_row, crowd_base base order by n;
insert into port_security_group (port_id, security_group_id)
select base.port + n, s.id from crowd_row r cross join crowd_base base
join security_group s on s.project_id = r.project_id and s.name = 'default' order by n;
insert into address (subnet_id, address, port_id)
select base.subnet + n, '192.168.7.10', base.port + n from crowd_row, crowd_base base order by n;
select setval(pg_get_serial_sequence('server', 'id'), (select max(id) from server)),
    setval(pg_get_serial_sequence('network', 'id'), (select max(id) from network)),
    setval(pg_get_serial_sequence('subnet', 'id'), (select max(id) from subnet)),
    setval(pg_get_serial_sequence('port', 'id'), (select max(id) from port));
drop table crowd_row, crowd_base;
"""


def fill(connection: Any, rows: Mapping[str, int], user_id: str) -> None:
    """Give each project so many of everything; PostgreSQL then counts what there is.

    :param connection: of psycopg2, as a superuser of the database.
    :param rows: by the id of a project, which is made if it is not there.
    """
    wanted = {"projects": list(rows), "rows": list(rows.values()), "user": user_id}
    connection.autocommit = True
    with connection.cursor() as cursor:
        # Without looking up every reference: they are right as they are made.
        cursor.execute("set session_replication_role = replica")
        cursor.execute(_OWNERS, wanted)
        cursor.execute(_ROWS, wanted)
        cursor.execute("reset session_replication_role")
        cursor.execute("vacuum analyze")
