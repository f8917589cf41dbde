"""Security groups and their rules: making, changing and deleting them."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.network.collections import SECURITY_GROUP_RULES, SECURITY_GROUPS
from cyclades_tx.api.network.revisions import conditional, wanted_revision
from cyclades_tx.api.network.writing import (
    document,
    documents,
    one_or_many,
    only,
    project_of,
    text,
)
from cyclades_tx.errors import BadRequest
from cyclades_tx.flows.security_groups import SecurityGroups, WantedGroup, WantedRule
from cyclades_tx.model.firewall_rule import RuleWords


class NewGroup(Struct, forbid_unknown_fields=True, kw_only=True):
    """The ``security_group`` of a POST."""

    name: str
    description: str = ""
    stateful: bool = True
    tenant_id: str | None = None
    project_id: str | None = None


class ChangedGroup(Struct, forbid_unknown_fields=True, kw_only=True):
    """The ``security_group`` of a PUT."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    stateful: bool | UnsetType = UNSET


class NewRule(Struct, forbid_unknown_fields=True, kw_only=True):
    """The ``security_group_rule`` of a POST."""

    security_group_id: str
    direction: str
    ethertype: str | None = None
    protocol: str | int | None = None
    port_range_min: int | str | None = None
    port_range_max: int | str | None = None
    remote_ip_prefix: str | None = None
    remote_group_id: str | None = None
    description: str = ""
    tenant_id: str | None = None
    project_id: str | None = None


class GroupWriter:
    """``POST``, ``PUT`` and ``DELETE`` of security groups.

    :param groups: the flows.
    """

    def __init__(self, database: Any, groups: SecurityGroups) -> None:
        self._database = database
        self._groups = groups

    async def create(self, call: Call) -> Reply:
        """Make one or several; 201."""
        bodies, several = one_or_many(call, SECURITY_GROUPS, NewGroup)
        wanted = [
            WantedGroup(
                text("name", body.name),
                text("description", body.description),
                body.stateful,
                project_of(body.tenant_id, body.project_id),
            )
            for body in bodies
        ]
        uuids = await self._groups.create(call.who, wanted)
        if several:
            return Reply(201, await documents(self._database, call, SECURITY_GROUPS, uuids))
        return Reply(201, await document(self._database, call, SECURITY_GROUPS, uuids[0]))

    async def update(self, call: Call, ref: str) -> Reply:
        """Change one; 200."""
        body = only(call, SECURITY_GROUPS, ChangedGroup)
        changes: dict[str, Any] = {}
        for name in ("name", "description"):
            value = getattr(body, name)
            if value is not UNSET:
                changes[name] = text(name, value)
        if body.stateful is not UNSET:
            changes["stateful"] = body.stateful
        uuid = await conditional(self._groups.update(call.who, ref, changes, wanted_revision(call)))
        return Reply(200, await document(self._database, call, SECURITY_GROUPS, uuid))

    async def delete(self, call: Call, ref: str) -> Reply:
        """Delete one that nothing uses; 204."""
        await conditional(self._groups.delete(call.who, ref, wanted_revision(call)))
        return Reply(204)


class RuleWriter:
    """``POST`` and ``DELETE`` of rules; none can be changed.

    :param groups: the flows.
    """

    def __init__(self, database: Any, groups: SecurityGroups) -> None:
        self._database = database
        self._groups = groups

    async def create(self, call: Call) -> Reply:
        """Make one or several; 201."""
        bodies, several = one_or_many(call, SECURITY_GROUP_RULES, NewRule)
        uuids = await self._groups.create_rules(call.who, [_rule(call, body) for body in bodies])
        if several:
            return Reply(201, await documents(self._database, call, SECURITY_GROUP_RULES, uuids))
        return Reply(201, await document(self._database, call, SECURITY_GROUP_RULES, uuids[0]))

    async def update(self, call: Call, ref: str) -> Reply:
        """Refuse: a rule is another one when it changes."""
        await self._groups.find_rule(call.who, ref)
        raise BadRequest("A rule cannot be changed: delete it and make another one.")

    async def delete(self, call: Call, ref: str) -> Reply:
        """Take one out of its group; 204."""
        await self._groups.delete_rule(call.who, ref)
        return Reply(204)


def _rule(call: Call, body: NewRule) -> WantedRule:
    project_id = project_of(body.tenant_id, body.project_id)
    if project_id not in (None, call.who.project_id) and not call.who.admin:
        raise BadRequest("A rule belongs to the project of its group.")
    return WantedRule(
        group_ref=body.security_group_id,
        words=RuleWords(
            body.direction,
            body.ethertype,
            body.protocol,
            _number("port_range_min", body.port_range_min),
            _number("port_range_max", body.port_range_max),
            body.remote_ip_prefix,
        ),
        remote_group_ref=body.remote_group_id,
        description=text("description", body.description),
    )


def _number(what: str, value: int | str | None) -> int | None:
    """A number, which may be written as text, or BadRequest."""
    if value is None or isinstance(value, int):
        return value
    digits = value.removeprefix("-")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 9:
        raise BadRequest(f"Invalid input for {what}. Reason: {value[:80]!r} is not a number.")
    return int(value)
