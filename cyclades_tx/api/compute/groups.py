"""The security groups of a server, in the form that Compute has for them."""

from __future__ import annotations

from typing import Any

from cyclades_tx.api.call import Call
from cyclades_tx.api.compute.routes import Routes
from cyclades_tx.api.compute.servers import read

#: The SQL of a rule; ``rule`` in the group ``found``, ``other`` the group that it lets in.
RULE = (
    "json_build_object('id', rule.uuid, 'parent_group_id', found.uuid,"
    " 'ip_protocol', rule.protocol, 'from_port', rule.port_range_min, 'to_port',"
    " rule.port_range_max, 'group', case when other.id is null then '{}'::json else"
    " json_build_object('name', other.name, 'tenant_id', other.project_id) end, 'ip_range',"
    " case when other.id is not null then '{}'::json else json_build_object('cidr',"
    " coalesce(rule.remote_prefix::text, case rule.ethertype when 'IPv6' then '::/0' else"
    " '0.0.0.0/0' end)) end)"
)
_RULES = (
    f"coalesce((select json_agg({RULE} order by rule.id) from security_group_rule rule"
    " left join security_group other on other.id = rule.remote_group_id"
    " where rule.security_group_id = found.id and rule.direction = 'ingress'), '[]')"
)
#: The SQL of the group ``found`` with its rules for what comes in.
GROUP = (
    "json_build_object('id', found.uuid, 'name', found.name, 'description', found.description,"
    f" 'tenant_id', found.project_id, 'rules', {_RULES})"
)
_SECURITY_GROUPS = (
    f"select json_build_object('security_groups', coalesce((select json_agg({GROUP}"
    " order by found.name) from security_group found"
    " where exists (select 1 from port join port_security_group on"
    " port_security_group.port_id = port.id where port.server_id = server.id"
    " and port_security_group.security_group_id = found.id)), '[]'))::text from server where"
)


def mount(routes: Routes, database: Any) -> None:
    """Add the endpoint."""

    async def list_security_groups(call: Call, server_id: str) -> bytes:
        return await read(database, call, server_id, _SECURITY_GROUPS)

    routes.add("GET", "/servers/<server_id>/os-security-groups", list_security_groups)
