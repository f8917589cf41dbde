"""The limits of a project and what is used of them."""

from __future__ import annotations

from typing import Any

from cyclades_tx.api.compute.documents import NUMBER
from cyclades_tx.api.compute.routes import Routes
from cyclades_tx.api.documents import Document, Member
from cyclades_tx.api.frame import Call
from cyclades_tx.flows.keypairs import MOST as KEY_PAIRS
from cyclades_tx.model import quota

METADATA_ITEMS = 128
_NETWORK_LAST = 35
_IMAGE_META_LAST = 38
_FILES_LAST = 56


def maximum(resource: str, divisor: int = 1) -> str:
    """The SQL of a limit; no row and null are no limit, which is -1."""
    return (
        "coalesce((select holding.maximum from holding where holding.project_id::text ="
        f" given.project_id and holding.resource = '{resource}') / {divisor}, -1)"
    )


def used(resource: str, divisor: int = 1, column: str = "used + holding.reserved") -> str:
    """The SQL of what is used; a unit that is begun counts."""
    return (
        f"coalesce((select (holding.{column} + {divisor} - 1) / {divisor} from holding"
        f" where holding.project_id::text = given.project_id and holding.resource = '{resource}')"
        ", 0)"
    )


def _number(name: str, sql: str | int, last: int | None = None) -> Member:
    return Member(name, str(sql), NUMBER, last=last)


ABSOLUTE = Document(
    "AbsoluteLimits",
    (
        _number("maxServerMeta", METADATA_ITEMS),
        _number("maxTotalInstances", maximum(quota.VM)),
        _number("maxTotalKeypairs", KEY_PAIRS),
        _number("maxTotalCores", maximum(quota.CPU)),
        _number("maxTotalRAMSize", maximum(quota.RAM, quota.MIB)),
        _number("maxServerGroups", 0),
        _number("maxServerGroupMembers", 0),
        _number("totalCoresUsed", used(quota.CPU)),
        _number("totalInstancesUsed", used(quota.VM)),
        _number("totalRAMUsed", used(quota.RAM, quota.MIB)),
        _number("totalServerGroupsUsed", 0),
        _number("maxSecurityGroups", -1, _NETWORK_LAST),
        _number("maxSecurityGroupRules", -1, _NETWORK_LAST),
        _number("maxTotalFloatingIps", maximum(quota.FLOATING_IP), _NETWORK_LAST),
        _number(
            "totalSecurityGroupsUsed",
            "(select count(*) from security_group where project_id::text = given.project_id)",
            _NETWORK_LAST,
        ),
        _number("totalFloatingIpsUsed", used(quota.FLOATING_IP), _NETWORK_LAST),
        _number("maxImageMeta", METADATA_ITEMS, _IMAGE_META_LAST),
        _number("maxPersonality", 5, _FILES_LAST),
        _number("maxPersonalitySize", 10_240, _FILES_LAST),
    ),
)


def mount(routes: Routes, database: Any) -> None:
    """Add the endpoint."""

    async def show(call: Call) -> bytes:
        project_id = call.who.project_id
        if call.who.admin:
            project_id = call.query("tenant_id") or project_id
        text = ABSOLUTE.text(call.minor)
        body: bytes = await database.document(
            f'select \'{{"limits": {{"rate": [], "absolute": \' || {text} || \'}}}}\''
            " from (select %s::text as project_id) as given",
            (project_id,),
        )
        return body

    routes.add("GET", "/limits", show)
