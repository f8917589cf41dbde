"""The limits of a project and what is used of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from cyclades_tx.api.call import Call
from cyclades_tx.api.compute.documents import NUMBER
from cyclades_tx.api.compute.routes import Routes
from cyclades_tx.api.documents import Document, Member
from cyclades_tx.errors import BadRequest, Forbidden
from cyclades_tx.flows.quotas import COUNTED, FIXED, HELD

METADATA_ITEMS = FIXED["metadata_items"]
_NETWORK_LAST = 35
_IMAGE_META_LAST = 38
_FILES_LAST = 56
_MOST = 2**31 - 1
_LIMIT = re.compile(r"-?[0-9]{1,10}", re.ASCII)


def checked(name: str, value: int | str) -> int:
    """A limit that a body names.

    :raise BadRequest: for what is no limit.
    """
    if _LIMIT.fullmatch(str(value)) is None or not -1 <= int(value) <= _MOST:
        raise BadRequest(
            f"Invalid input for field/attribute {name}. Value: {str(value)[:40]}. A limit is a"
            f" whole number from -1 (no limit) to {_MOST}."
        )
    return int(value)


def _held(resources: Sequence[str], what: str) -> str:
    """The SQL of something about the one of several resources that has the least room."""
    names = ", ".join(f"'{each}'" for each in resources)
    return (
        f"(select {what} from holding where holding.project_id::text = given.project_id"
        f" and holding.resource in ({names}) order by holding.maximum - holding.used"
        " - holding.reserved nulls last, holding.resource desc limit 1)"
    )


def maximum(resources: Sequence[str], divisor: int = 1) -> str:
    """The SQL of a limit; no row and null are no limit, which is -1."""
    return f"coalesce({_held(resources, 'holding.maximum')} / {divisor}, -1)"


def used(
    resources: Sequence[str], divisor: int = 1, column: str = "used + holding.reserved"
) -> str:
    """The SQL of what is used; a unit that is begun counts."""
    what = f"(holding.{column} + {divisor} - 1) / {divisor}"
    return f"coalesce({_held(resources, what)}, 0)"


def counted(name: str, otherwise: int) -> str:
    """The SQL of a limit of what is counted where it is made.

    :param otherwise: counts when nothing was said for the project, nor for all of them.
    """
    return (
        "coalesce((select project_limit.maximum from project_limit where"
        f" project_limit.project_id::text = given.project_id and project_limit.name = '{name}'),"
        f" (select quota_default.maximum from quota_default where quota_default.name = '{name}'),"
        f" {otherwise})"
    )


def _maximum(name: str) -> str:
    return maximum(*HELD[name])


def _counted(name: str) -> str:
    return counted(name, COUNTED[name])


def _used(name: str) -> str:
    return used(*HELD[name])


def _number(name: str, sql: str | int, last: int | None = None) -> Member:
    return Member(name, str(sql), NUMBER, last=last)


ABSOLUTE = Document(
    "AbsoluteLimits",
    (
        _number("maxServerMeta", METADATA_ITEMS),
        _number("maxTotalInstances", _maximum("instances")),
        _number("maxTotalKeypairs", FIXED["key_pairs"]),
        _number("maxTotalCores", _maximum("cores")),
        _number("maxTotalRAMSize", _maximum("ram")),
        _number("maxServerGroups", _counted("server_groups")),
        _number("maxServerGroupMembers", _counted("server_group_members")),
        _number("totalCoresUsed", _used("cores")),
        _number("totalInstancesUsed", _used("instances")),
        _number("totalRAMUsed", _used("ram")),
        _number(
            "totalServerGroupsUsed",
            "(select count(*) from server_group where project_id::text = given.project_id)",
        ),
        _number("maxSecurityGroups", -1, _NETWORK_LAST),
        _number("maxSecurityGroupRules", -1, _NETWORK_LAST),
        _number("maxTotalFloatingIps", _maximum("floating_ips"), _NETWORK_LAST),
        _number(
            "totalSecurityGroupsUsed",
            "(select count(*) from security_group where project_id::text = given.project_id)",
            _NETWORK_LAST,
        ),
        _number("totalFloatingIpsUsed", _used("floating_ips"), _NETWORK_LAST),
        _number("maxImageMeta", METADATA_ITEMS, _IMAGE_META_LAST),
        _number("maxPersonality", 5, _FILES_LAST),
        _number("maxPersonalitySize", 10_240, _FILES_LAST),
    ),
)


def mount(routes: Routes, database: Any) -> None:
    """Add the endpoint."""

    async def show(call: Call) -> bytes:
        project_id = call.who.project_id
        asked = call.query("tenant_id")
        if asked not in (None, "", project_id):
            if not call.who.admin:
                raise Forbidden("Policy does not allow this request to be performed.")
            project_id = asked
        text = ABSOLUTE.text(call.minor)
        body: bytes = await database.document(
            f'select \'{{"limits": {{"rate": [], "absolute": \' || {text} || \'}}}}\''
            " from (select %s::text as project_id) as given",
            (project_id,),
        )
        return body

    routes.add("GET", "/limits", show)
