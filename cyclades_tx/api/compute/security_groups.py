"""Security groups and their rules for what comes in, as Compute once showed them."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.compute.filters import boolean
from cyclades_tx.api.compute.flavors import UUID
from cyclades_tx.api.compute.groups import GROUP, RULE
from cyclades_tx.api.compute.new_server import name_of
from cyclades_tx.api.compute.proxies import Proxies, found, listing, part, showing
from cyclades_tx.errors import BadRequest, Conflict, NotFound
from cyclades_tx.flows.security_groups import SecurityGroups, WantedGroup, WantedRule
from cyclades_tx.model.firewall_rule import RuleWords

T = TypeVar("T")

_ORDER = 'found.name collate "C", found.id'
_LIST, _LIST_ALL = (
    listing("security_groups", f"({GROUP})::text", f"security_group found where {which}", _ORDER)
    for which in ("found.project_id = %s", "%s::text is not null")
)
_SHOW = showing(
    "security_group",
    f"({GROUP})::text",
    "security_group found where found.uuid = %s::uuid"
    " and (%s::boolean or found.project_id = %s::text)",
)
_SHOW_RULE = showing(
    "security_group_rule",
    f"({RULE})::text",
    "security_group_rule rule join security_group found on found.id = rule.security_group_id"
    " left join security_group other on other.id = rule.remote_group_id"
    " where rule.uuid = %s::uuid",
)
_LONGEST = 255


class NewGroup(Struct, forbid_unknown_fields=True):
    """The ``security_group`` of a POST."""

    name: str
    description: str | None = None


class NewGroupBody(Struct, forbid_unknown_fields=True):
    """The whole body."""

    security_group: NewGroup


class ChangedGroup(Struct, forbid_unknown_fields=True):
    """The ``security_group`` of a PUT."""

    name: str
    description: str | UnsetType | None = UNSET


class ChangedGroupBody(Struct, forbid_unknown_fields=True):
    """The whole body."""

    security_group: ChangedGroup


class NewRule(Struct, forbid_unknown_fields=True):
    """The ``security_group_rule`` of a POST; null means the same as absent."""

    parent_group_id: str
    ip_protocol: str | int | None = None
    from_port: int | str | None = None
    to_port: int | str | None = None
    cidr: str | None = None
    group_id: str | None = None


class NewRuleBody(Struct, forbid_unknown_fields=True):
    """The whole body."""

    security_group_rule: NewRule


_NEW = msgspec.json.Decoder(NewGroupBody)
_CHANGED = msgspec.json.Decoder(ChangedGroupBody)
_NEW_RULE = msgspec.json.Decoder(NewRuleBody)


def mount(proxies: Proxies, database: Any, groups: SecurityGroups) -> None:
    """Add the endpoints."""

    async def show(call: Call, group_id: str) -> bytes:
        why = f"Security group {group_id} not found."
        if UUID.fullmatch(group_id) is None:
            raise NotFound(why)
        arguments = (group_id, call.who.admin, call.who.project_id)
        return await found(database, call, _SHOW, arguments, why)

    async def list_items(call: Call) -> bytes:
        sql = _LIST
        if call.who.admin and boolean("all_tenants", call.query("all_tenants") or "0"):
            sql = _LIST_ALL
        body: bytes = await database.document(sql, (call.who.project_id, *part(call)))
        return body

    async def create(call: Call) -> bytes:
        wanted = call.json(_NEW).security_group
        group = WantedGroup(name_of("name", wanted.name), _description(wanted.description))
        (uuid,) = await _asked(groups.create(call.who, [group]))
        return await show(call, uuid)

    async def update(call: Call, group_id: str) -> bytes:
        wanted = call.json(_CHANGED).security_group
        changes: dict[str, Any] = {"name": name_of("name", wanted.name)}
        if wanted.description is not UNSET:
            changes["description"] = _description(wanted.description)
        return await show(call, await _asked(groups.update(call.who, group_id, changes)))

    async def delete(call: Call, group_id: str) -> Reply:
        await _asked(groups.delete(call.who, group_id))
        return Reply(202)

    async def create_rule(call: Call) -> bytes:
        wanted = rule_of(call.json(_NEW_RULE).security_group_rule)
        (uuid,) = await _asked(groups.create_rules(call.who, [wanted]))
        return await found(database, call, _SHOW_RULE, (uuid,), f"Rule {uuid} not found.")

    async def delete_rule(call: Call, rule_id: str) -> Reply:
        await groups.delete_rule(call.who, rule_id)
        return Reply(202)

    proxies.add("GET", "/os-security-groups", list_items)
    proxies.add("POST", "/os-security-groups", create)
    proxies.add("GET", "/os-security-groups/<group_id>", show)
    proxies.add("PUT", "/os-security-groups/<group_id>", update)
    proxies.add("DELETE", "/os-security-groups/<group_id>", delete)
    proxies.add("POST", "/os-security-group-rules", create_rule)
    proxies.add("DELETE", "/os-security-group-rules/<rule_id>", delete_rule)


def rule_of(wanted: NewRule) -> WantedRule:
    """A rule for what comes in, as the flow takes it: from everywhere unless it says otherwise.

    :raise BadRequest: for a protocol that is missing, or both a group and a range of addresses.
    """
    if wanted.cidr and wanted.group_id:
        raise BadRequest("A rule has a cidr or a group_id, not both.")
    protocol = wanted.ip_protocol
    if isinstance(protocol, str):
        protocol = protocol.lower()
        if protocol == "-1":
            protocol = None
    elif protocol == -1:
        protocol = None
    first, last = _port("from_port", wanted.from_port), _port("to_port", wanted.to_port)
    if protocol is None and (first is not None or last is not None):
        raise BadRequest("Ports need an ip_protocol that has them: tcp, udp or icmp.")
    cidr = wanted.cidr or (None if wanted.group_id else "0.0.0.0/0")
    ethertype = "IPv6" if cidr and ":" in cidr else "IPv4"
    return WantedRule(
        wanted.parent_group_id,
        RuleWords("ingress", ethertype, protocol, first, last, cidr),
        wanted.group_id or None,
    )


def _port(name: str, value: int | str | None) -> int | None:
    """A port, or a type or code of ICMP; -1 is all of them."""
    try:
        number = None if value is None else int(value)
    except ValueError:
        raise BadRequest(f"Invalid input for {name}: {str(value)[:80]!r} is no number.") from None
    return None if number == -1 else number


def _description(text: str | None) -> str:
    if text is not None and len(text) > _LONGEST:
        raise BadRequest(f"A description has at most {_LONGEST} characters.")
    return text or ""


async def _asked(answer: Awaitable[T]) -> T:
    """What a flow answers; Compute says 400 where Network says that something is in conflict."""
    try:
        return await answer
    except Conflict as error:
        raise BadRequest(error.message) from None
