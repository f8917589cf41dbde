"""The lists of the operator's command line: sources and columns, in SQL."""

from __future__ import annotations

from cyclades_tx.store.listings import NUMBER, TIME, TRUTH, Column, Listing

_PROJECT = (
    Column("project", "coalesce(p.name, '')", also=("p.id::text",)),
    Column("project.id", "p.id::text", shown=False),
)


def _user(of: str, shown: bool = True) -> tuple[Column, ...]:
    name = f"coalesce(u.name, {of}::text, '')"
    return (
        Column("user", name, shown=shown, also=(f"{of}::text", "u.email")),
        Column("user.uuid", f"{of}::text", shown=False),
        Column("user.email", "u.email", shown=False),
    )


CLUSTERS = Listing(
    "cluster c left join cluster_lease l on l.cluster_id = c.id"
    " left join process r on r.driver = l.driver",
    (
        Column("id", "c.id", NUMBER),
        Column("clustername", "c.name"),
        Column("host", "c.rapi_host", shown=False),
        Column("port", "c.rapi_port", NUMBER),
        Column("username", "c.rapi_username"),
        Column("drained", "c.drained", TRUTH),
        Column("offline", "c.offline", TRUTH),
        Column("public", "c.public", TRUTH),
        Column("answers", "c.reachable", TRUTH),
        Column(
            "vms",
            "(select count(*) from server s where s.cluster_id = c.id and s.deleted_at is null)",
            NUMBER,
        ),
        Column("hypervisor", "c.hypervisor"),
        Column("disk_templates", "array_to_string(c.disk_templates, ',')", shown=False),
        Column("mem_gib", "c.memory_free_mib / 1024 || '/' || c.memory_total_mib / 1024"),
        Column("disk_gib", "c.disk_free_mib / 1024 || '/' || c.disk_total_mib / 1024"),
        Column("mem_free_mib", "c.memory_free_mib", NUMBER, shown=False),
        Column("mem_total_mib", "c.memory_total_mib", NUMBER, shown=False),
        Column("disk_free_mib", "c.disk_free_mib", NUMBER, shown=False),
        Column("disk_total_mib", "c.disk_total_mib", NUMBER, shown=False),
        Column("cpus", "c.cpus", NUMBER, shown=False),
        Column("instances", "c.instances", NUMBER, shown=False),
        Column("version", "c.version", shown=False),
        Column("node_groups", "array_to_string(c.node_groups, ',')", shown=False),
        Column("hotplug", "c.hotplug", TRUTH, shown=False),
        Column("pinned", "c.certificate is not null", TRUTH, shown=False),
        Column("position", "c.position", NUMBER, shown=False),
        Column("reason", "c.unreachable_reason", shown=False),
        Column("statistics", "c.statistics_at", TIME, shown=False),
        Column("driver", "l.driver", shown=False),
        Column("driver_seen", "r.beaten_at", TIME, shown=False),
        Column("created", "c.created_at", TIME, shown=False),
    ),
    "c.id",
)

CLUSTER_PROJECTS = Listing(
    "cluster_project m join cluster c on c.id = m.cluster_id join project p on p.id = m.project_id",
    (
        Column("project", "p.name", also=("p.id::text",)),
        Column("project.id", "p.id::text"),
        Column("backend", "c.id", NUMBER, also=("c.name",)),
        Column("clustername", "c.name"),
    ),
    "p.name, c.id",
)

VOLUME_TYPES = Listing(
    "volume_type t",
    (
        Column("id", "t.id", NUMBER),
        Column("uuid", "t.uuid::text", shown=False),
        Column("name", "t.name"),
        Column("disk_template", "t.disk_template"),
        Column("provider", "coalesce(t.provider, '')"),
        Column("public", "t.public", TRUTH),
        Column(
            "flavors",
            "(select count(*) from flavor f where f.volume_type_id = t.id"
            " and f.deleted_at is null)",
            NUMBER,
        ),
        Column(
            "volumes",
            "(select count(*) from volume v where v.volume_type_id = t.id"
            " and v.deleted_at is null)",
            NUMBER,
        ),
        Column(
            "specs",
            "(select coalesce(string_agg(s.key || '=' || s.value, ',' order by s.key), '')"
            " from volume_type_spec s where s.volume_type_id = t.id)",
        ),
        Column("deleted", "t.deleted_at is not null", TRUTH, shown=False),
        Column("created", "t.created_at", TIME, shown=False),
    ),
    "t.id",
    "t.deleted_at is null",
    "t.deleted_at is not null",
)

FLAVORS = Listing(
    "flavor f join volume_type t on t.id = f.volume_type_id",
    (
        Column("id", "f.id", NUMBER),
        Column("uuid", "f.uuid::text", shown=False),
        Column("name", "f.name"),
        Column("cpu", "f.vcpus", NUMBER),
        Column("ram", "f.memory_mib", NUMBER),
        Column("disk", "f.disk_gib", NUMBER),
        Column("template", "t.disk_template"),
        Column("volume_type", "t.name", also=("t.id::text",)),
        Column("allow_create", "f.allow_create", TRUTH),
        Column("public", "f.public", TRUTH),
        Column(
            "vms",
            "(select count(*) from server s where s.flavor_id = f.id and s.deleted_at is null)",
            NUMBER,
        ),
        Column(
            "specs",
            "(select coalesce(string_agg(s.key || '=' || s.value, ',' order by s.key), '')"
            " from flavor_spec s where s.flavor_id = f.id)",
        ),
        Column("created", "f.created_at", TIME, shown=False),
        Column("deleted", "f.deleted_at is not null", TRUTH, shown=False),
    ),
    "f.id",
    "f.deleted_at is null",
    "f.deleted_at is not null",
)

FLAVOR_ACCESS = Listing(
    "flavor_access a join flavor f on f.id = a.flavor_id join project p on p.id = a.project_id",
    (
        Column("project", "p.name", also=("p.id::text",)),
        Column("project.id", "p.id::text"),
        Column("flavor", "f.id", NUMBER, also=("f.name", "f.uuid::text")),
        Column("flavor.name", "f.name"),
    ),
    "p.name, f.id",
)

IMAGES = Listing(
    "image i left join project p on p.id = i.project_id",
    (
        Column("id", "i.id", NUMBER),
        Column("uuid", "i.uuid::text"),
        Column("name", "i.name"),
        Column("status", "i.status"),
        Column("visibility", "i.visibility"),
        Column("disk_format", "i.disk_format"),
        Column("min_disk", "i.min_disk_gib", NUMBER, shown=False),
        Column("min_ram", "i.min_memory_mib", NUMBER, shown=False),
        Column("location", "i.location"),
        *_PROJECT,
        Column("protected", "i.protected", TRUTH, shown=False),
        Column("hidden", "i.hidden", TRUTH, shown=False),
        Column("created", "i.created_at", TIME, shown=False),
        Column("updated", "i.updated_at", TIME, shown=False),
    ),
    "i.id",
    "i.deleted_at is null",
    "i.deleted_at is not null",
)

_IPS = (
    "(select coalesce(string_agg(host(a.address), ',' order by a.id), '') from port q"
    " join address a on a.port_id = q.id where q.server_id = s.id and family(a.address) = {family})"
)

SERVERS = Listing(
    "server s join flavor f on f.id = s.flavor_id join project p on p.id = s.project_id"
    " left join user_account u on u.id = s.user_id left join cluster c on c.id = s.cluster_id"
    " left join image i on i.id = s.image_id"
    " left join lateral (select o.kind, o.reason, o.progress from operation o"
    " where o.server_id = s.id and o.finished_at is null order by (o.kind = 'delete') desc"
    " limit 1) o on true",
    (
        Column("id", "s.id", NUMBER),
        Column("uuid", "s.uuid::text", shown=False),
        Column("name", "s.name"),
        *_user("s.user_id"),
        *_PROJECT,
        Column("state", "s.state"),
        Column(
            "operstate",
            "case s.state when 'building' then 'BUILD' when 'active' then 'STARTED'"
            " when 'stopped' then 'STOPPED' when 'error' then 'ERROR'"
            " when 'deleted' then 'DESTROYED'"
            # A resize that waits for its word, and a rescue, leave it as it was: up or down.
            " else case s.charge when 'on' then 'STARTED' else 'STOPPED' end end",
            shown=False,
        ),
        Column("action", "coalesce(o.kind, '')"),
        Column("action.reason", "coalesce(o.reason, '')", shown=False),
        Column("flavor", "f.name", also=("f.id::text", "f.uuid::text")),
        Column("flavor.id", "f.id", NUMBER, shown=False),
        Column("image.id", "i.uuid::text", shown=False, also=("i.id::text",)),
        Column("image.name", "i.name"),
        Column("backend", "coalesce(c.name, '')", also=("c.id::text",)),
        Column("backend.id", "c.id", NUMBER, shown=False),
        Column("node", "s.node", shown=False),
        Column("ipv4", _IPS.format(family=4)),
        Column("ipv6", _IPS.format(family=6), shown=False),
        Column("cpu", "s.vcpus", NUMBER, shown=False),
        Column("ram", "s.memory_mib", NUMBER, shown=False),
        Column("suspended", "s.suspended", TRUTH, shown=False),
        Column("locked", "s.locked", TRUTH, shown=False),
        Column("fault", "s.fault_message", shown=False),
        Column("created", "s.created_at", TIME, shown=False),
        Column("updated", "s.updated_at", TIME, shown=False),
        Column("deleted", "s.deleted_at", TIME, shown=False),
    ),
    "s.id",
    "s.deleted_at is null",
    "s.deleted_at is not null",
)

_MEMBERS = (
    "server_group_member m join server s on s.id = m.server_id"
    " left join cluster c on c.id = s.cluster_id where m.server_group_id = g.id"
)

SERVER_GROUPS = Listing(
    "server_group g join project p on p.id = g.project_id"
    " left join user_account u on u.id = g.user_id",
    (
        Column("id", "g.id", NUMBER),
        Column("uuid", "g.uuid::text", shown=False),
        Column("name", "g.name"),
        *_user("g.user_id"),
        *_PROJECT,
        Column("policy", "g.policy"),
        Column("most_per_host", "g.most_per_host", NUMBER, shown=False),
        Column(
            "servers",
            f"(select coalesce(string_agg(s.id::text, ',' order by s.id), '') from {_MEMBERS})",
        ),
        Column(
            "backends",
            f"(select coalesce(string_agg(distinct c.name, ','), '') from {_MEMBERS})",
        ),
        Column("created", "g.created_at", TIME, shown=False),
    ),
    "g.id",
)

_SUBNET = (
    "(select coalesce(string_agg({what}, ',' order by x.id), '') from subnet x"
    " where x.network_id = n.id and family(x.cidr) = {family})"
)

NETWORKS = Listing(
    "network n left join project p on p.id = n.project_id"
    " left join user_account u on u.id = n.user_id",
    (
        Column("id", "n.id", NUMBER),
        Column("uuid", "n.uuid::text", shown=False),
        Column("name", "n.name"),
        *_user("n.user_id", shown=False),
        *_PROJECT,
        Column("state", "n.state"),
        Column("public", "n.shared", TRUTH),
        Column("external", "n.external", TRUTH),
        Column("subnet.ipv4", _SUBNET.format(what="x.cidr::text", family=4)),
        Column("gateway.ipv4", _SUBNET.format(what="coalesce(host(x.gateway), '-')", family=4)),
        Column("subnet.ipv6", _SUBNET.format(what="x.cidr::text", family=6), shown=False),
        Column(
            "gateway.ipv6",
            _SUBNET.format(what="coalesce(host(x.gateway), '-')", family=6),
            shown=False,
        ),
        Column(
            "ipv6",
            "exists (select from subnet x where x.network_id = n.id and family(x.cidr) = 6)",
            TRUTH,
            shown=False,
        ),
        Column("flavor", "n.flavor"),
        Column("mode", "n.mode", shown=False),
        Column("link", "n.link"),
        Column("mac_prefix", "n.mac_prefix"),
        Column("drained", "n.drained", TRUTH),
        Column("floating_ip_pool", "n.floating_ip_pool", TRUTH),
        Column(
            "backends",
            "(select coalesce(string_agg(c.name || ':' || m.state, ',' order by c.id), '')"
            " from cluster_network m join cluster c on c.id = m.cluster_id"
            " where m.network_id = n.id)",
            shown=False,
        ),
        Column(
            "vms",
            "(select count(distinct q.server_id) from port q where q.network_id = n.id)",
            NUMBER,
            shown=False,
        ),
        Column("created", "n.created_at", TIME, shown=False),
        Column("updated", "n.updated_at", TIME, shown=False),
    ),
    "n.id",
    "n.deleted_at is null",
    "n.deleted_at is not null",
)

USERS = Listing(
    "user_account u left join project p on p.id = u.default_project_id",
    (
        Column("id", "u.id::text"),
        Column("name", "u.name"),
        Column("email", "u.email"),
        Column("enabled", "u.enabled", TRUTH),
        Column("default_project", "p.name", also=("p.id::text",)),
        Column(
            "roles",
            "(select coalesce(string_agg(r.name || '@' || q.name, ',' order by q.name, r.name), '')"
            " from role_assignment a join role r on r.id = a.role_id"
            " join project q on q.id = a.project_id where a.user_id = u.id)",
        ),
        Column("description", "u.description", shown=False),
        Column("password", "u.password_hash is not null", TRUTH, shown=False),
        Column("created", "u.created_at", TIME, shown=False),
    ),
    "u.name",
)

PROJECTS = Listing(
    "project p",
    (
        Column("id", "p.id::text"),
        Column("name", "p.name"),
        Column("enabled", "p.enabled", TRUTH),
        Column("description", "p.description"),
        Column(
            "vms",
            "(select count(*) from server s where s.project_id = p.id and s.deleted_at is null)",
            NUMBER,
        ),
        Column(
            "users",
            "(select count(distinct a.user_id) from role_assignment a where a.project_id = p.id)",
            NUMBER,
        ),
        Column("created", "p.created_at", TIME, shown=False),
    ),
    "p.name",
)

#: What one of a resource is counted in.
_UNIT = (
    "case when h.resource in ('cyclades.ram', 'cyclades.total_ram') then 1048576"
    " when h.resource = 'cyclades.disk' then 1073741824 else 1 end"
)

QUOTAS = Listing(
    "holding h join project p on p.id = h.project_id",
    (
        Column("project", "p.name", also=("p.id::text",)),
        Column("project.id", "p.id::text", shown=False),
        Column("resource", "h.resource"),
        Column("limit", f"h.maximum / {_UNIT}", NUMBER),
        Column("used", f"h.used / {_UNIT}", NUMBER),
        Column("reserved", f"h.reserved / {_UNIT}", NUMBER),
        Column(
            "unit",
            "case when h.resource in ('cyclades.ram', 'cyclades.total_ram') then 'MiB'"
            " when h.resource = 'cyclades.disk' then 'GiB' else '' end",
        ),
    ),
    "p.name, h.resource",
)

#: What a user has in a project, as its limits count it.
_USE = (
    "cross join lateral (select count(*)::bigint as instances, coalesce(sum(s.vcpus), 0)::bigint"
    " as cores, coalesce(sum(s.memory_mib), 0)::bigint as ram from server s"
    " where s.project_id = l.project_id and s.user_id = l.user_id and s.deleted_at is null"
    " and (s.charge <> 'none' or s.state = 'building')) x"
)

USER_QUOTAS = Listing(
    "user_limit l join project p on p.id = l.project_id join user_account u on u.id = l.user_id"
    f" {_USE}",
    (
        *_user("l.user_id"),
        Column("project", "p.name", also=("p.id::text",)),
        Column("project.id", "p.id::text", shown=False),
        Column(
            "resource",
            "case l.name when 'instances' then 'cyclades.vm' when 'cores' then"
            " 'cyclades.total_cpu' else 'cyclades.total_ram' end",
        ),
        Column("limit", "l.maximum", NUMBER),
        Column(
            "used",
            "case l.name when 'instances' then x.instances when 'cores' then x.cores else x.ram"
            " end",
            NUMBER,
        ),
        Column("unit", "case l.name when 'ram' then 'MiB' else '' end"),
    ),
    "p.name, u.name, l.name",
)

OPERATIONS = Listing(
    "operation o join cluster c on c.id = o.cluster_id left join server s on s.id = o.server_id"
    " left join network n on n.id = o.network_id",
    (
        Column("id", "o.id", NUMBER),
        Column("uuid", "o.uuid::text", shown=False),
        Column("kind", "o.kind"),
        Column("state", "o.state"),
        Column("server", "o.server_id", NUMBER, also=("s.uuid::text",)),
        Column("server.name", "s.name", shown=False),
        Column("network", "o.network_id", NUMBER, also=("n.uuid::text",)),
        Column("volume", "o.volume_id", NUMBER),
        Column("backend", "c.name", also=("c.id::text",)),
        Column("job", "o.job_id", NUMBER),
        # How a job was when it was last looked at says nothing once its operation has ended.
        Column(
            "job_status",
            "case when o.finished_at is null then coalesce(o.job_status, '') else '' end",
        ),
        Column("created", "o.created_at", TIME),
        Column("deadline", "o.deadline_at", TIME),
        Column("finished", "o.finished_at", TIME, shown=False),
        Column(
            "age_seconds",
            "floor(extract(epoch from coalesce(o.finished_at, now()) - o.created_at))::bigint",
            NUMBER,
        ),
        Column("progress", "o.progress", NUMBER, shown=False),
        Column("failures", "o.failures", NUMBER),
        Column("request_id", "o.request_id", shown=False),
        Column("reason", "o.reason"),
        Column("inside", "coalesce(o.arguments->>'inside', '')", shown=False),
    ),
    "o.id",
    "o.finished_at is null",
    "true",
)
