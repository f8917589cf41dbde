"""Server groups: servers that are to be together, or apart."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.compute import paging
from cyclades_tx.api.compute.documents import NULL, NUMBER, TEXT, array, mapping, record
from cyclades_tx.api.compute.filters import boolean
from cyclades_tx.api.compute.flavors import UUID
from cyclades_tx.api.compute.new_server import name_of
from cyclades_tx.api.compute.routes import Routes
from cyclades_tx.api.documents import Document, Member, one
from cyclades_tx.errors import BadRequest, NotFound
from cyclades_tx.flows.server_groups import ServerGroups
from cyclades_tx.model.placement import ANTI_AFFINITY, POLICIES

_OWNERS_FIRST = 13
_SOFT_FIRST = 15
_POLICY_FIRST = 64

_MEMBERS = (
    "coalesce((select json_agg(server.uuid order by server.id) from server_group_member"
    " join server on server.id = server_group_member.server_id where"
    " server_group_member.server_group_id = server_group.id and server.deleted_at is null), '[]')"
)
_RULES = (
    "case when server_group.most_per_host is null then json_build_object() else"
    " json_build_object('max_server_per_host', server_group.most_per_host) end"
)

SERVER_GROUP = Document(
    "ServerGroup",
    (
        Member("id", "server_group.uuid", TEXT),
        Member("name", "server_group.name", TEXT),
        Member(
            "policies",
            "json_build_array(server_group.policy)",
            array({"enum": list(POLICIES)}),
            last=_POLICY_FIRST - 1,
        ),
        Member("policy", "server_group.policy", {"enum": list(POLICIES)}, first=_POLICY_FIRST),
        Member(
            "rules",
            _RULES,
            {"oneOf": [record(), record(max_server_per_host=NUMBER)]},
            first=_POLICY_FIRST,
        ),
        Member("members", _MEMBERS, array(TEXT)),
        Member("metadata", "json_build_object()", mapping(NULL), last=_POLICY_FIRST - 1),
        Member("project_id", "server_group.project_id", TEXT, first=_OWNERS_FIRST),
        Member("user_id", "server_group.user_id", TEXT, first=_OWNERS_FIRST),
    ),
)


class Rules(Struct, forbid_unknown_fields=True):
    """What bends the policy, from 2.64."""

    max_server_per_host: int | str | None = None


class NewGroup(Struct, forbid_unknown_fields=True):
    """The ``server_group`` of the body."""

    name: str
    policies: list[str] | None = None
    policy: str | None = None
    rules: Rules | None = None


class Body(Struct, forbid_unknown_fields=True):
    """The whole body."""

    server_group: NewGroup


_DECODER = msgspec.json.Decoder(Body)

MINE = "server_group.uuid = %s::uuid and server_group.project_id = %s"
ANY = "server_group.uuid = %s::uuid and %s::text is not null"


@lru_cache(maxsize=256)
def _show(minor: int, admin: bool) -> str:
    return (
        f"select {one('server_group', SERVER_GROUP.text(minor))} from server_group"
        f" where {ANY if admin else MINE}"
    )


@lru_cache(maxsize=256)
def _list(minor: int, everywhere: bool) -> str:
    condition = "%s::text is not null" if everywhere else "server_group.project_id = %s"
    return (
        """select '{"server_groups": [' || coalesce(string_agg(page.item, ', ' order by page.id),"""
        f" '') || ']}}' from (select server_group.id, {SERVER_GROUP.text(minor)} as item"
        f" from server_group where {condition} order by server_group.id"
        " limit %s::bigint offset %s::bigint) as page"
    )


def mount(routes: Routes, database: Any, groups: ServerGroups) -> None:
    """Add the endpoints."""

    async def document(call: Call, ref: str) -> bytes:
        body = None
        if UUID.fullmatch(ref) is not None:
            who = call.who
            body = await database.document(_show(call.minor, who.admin), (ref, who.project_id))
        if body is None:
            raise NotFound(f"Instance group {ref} could not be found.", "server_group")
        found: bytes = body
        return found

    async def show(call: Call, group_id: str) -> bytes:
        return await document(call, group_id)

    async def list_items(call: Call) -> bytes:
        asked = call.query("all_projects")
        everywhere = asked is not None and (asked == "" or boolean("all_projects", asked))
        body: bytes = await database.document(
            _list(call.minor, everywhere and call.who.admin),
            (call.who.project_id, paging.limit(call), paging.number(call, "offset") or 0),
        )
        return body

    async def create(call: Call) -> bytes:
        wanted = call.json(_DECODER).server_group
        name = name_of("name", wanted.name)
        if call.minor < _POLICY_FIRST:
            policy, most = _old_policy(wanted, call.minor), None
        else:
            policy, most = _policy(wanted)
        return await document(call, await groups.create(call.who, name, policy, most))

    async def delete(call: Call, group_id: str) -> Reply:
        await groups.delete(call.who, group_id)
        return Reply(204)

    routes.add("GET", "/os-server-groups", list_items)
    routes.add("POST", "/os-server-groups", create)
    routes.add("GET", "/os-server-groups/<group_id>", show)
    routes.add("DELETE", "/os-server-groups/<group_id>", delete)


def _old_policy(wanted: NewGroup, minor: int) -> str:
    """The one policy of the list, as it was before 2.64."""
    for name in ("policy", "rules"):
        if getattr(wanted, name) is not None:
            raise BadRequest(
                f"Additional properties are not allowed ('{name}' was unexpected) in "
                f"microversion 2.{minor}."
            )
    policies = wanted.policies or []
    if len(policies) != 1:
        raise BadRequest("Invalid input for field/attribute policies: exactly one is meant.")
    known = POLICIES if minor >= _SOFT_FIRST else POLICIES[:2]
    if policies[0] not in known:
        raise BadRequest(
            f"Invalid input for field/attribute policies. Value: {policies[0][:80]!r}. There are:"
            f" {', '.join(known)}."
        )
    return policies[0]


def _policy(wanted: NewGroup) -> tuple[str, int | None]:
    """The policy, and how many may share a host."""
    if wanted.policies is not None:
        raise BadRequest("Additional properties are not allowed ('policies' was unexpected)")
    policy = wanted.policy
    if policy not in POLICIES:
        raise BadRequest(
            f"Invalid input for field/attribute policy. Value: {str(policy)[:80]!r}. There are:"
            f" {', '.join(POLICIES)}."
        )
    most = None if wanted.rules is None else wanted.rules.max_server_per_host
    if most is None:
        return policy, None
    text = str(most)
    if not (text.isascii() and text.isdigit() and 1 <= len(text) <= 9 and int(text) >= 1):
        raise BadRequest("Invalid input for field/attribute max_server_per_host: at least 1.")
    if policy != ANTI_AFFINITY:
        raise BadRequest("Only anti-affinity policy supports rules.")
    return policy, int(text)
