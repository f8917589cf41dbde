"""Networks: made one by one or several at once, changed, deleted.

Administrators choose the flavor by ``provider:network_type``: ``vlan`` is PHYSICAL_VLAN, whose
number in the pool of bridges is ``provider:segmentation_id``, ``flat`` is CUSTOM; the flavors' own
names are taken too. ``provider:physical_network`` is the bridge. Everybody else gets the
default flavor of private networks.
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType, field

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.network.collections import NETWORKS
from cyclades_tx.api.network.revisions import conditional, wanted_revision
from cyclades_tx.api.network.writing import (
    document,
    documents,
    given,
    number,
    one_or_many,
    only,
)
from cyclades_tx.errors import BadRequest, Forbidden
from cyclades_tx.flows.networks import Networks, WantedNetwork

#: What a project's own networks are.
PRIVATE_FLAVOR = "MAC_FILTERED"
_EXTERNAL_FLAVOR = "CUSTOM"
_FLAVORS = {
    "flat": "CUSTOM",
    "vlan": "PHYSICAL_VLAN",
    "custom": "CUSTOM",
    "mac_filtered": "MAC_FILTERED",
    "physical_vlan": "PHYSICAL_VLAN",
    "ip_less_routed": "IP_LESS_ROUTED",
}
_USUAL_MTU = 1500


class New(Struct, forbid_unknown_fields=True):
    """The ``network`` of a POST."""

    name: str = ""
    description: str = ""
    admin_state_up: bool = True
    shared: bool = False
    external: bool = field(default=False, name="router:external")
    is_default: bool = False
    mtu: int | str | None = None
    port_security_enabled: bool = True
    availability_zone_hints: list[str] = []
    tenant_id: str | None = None
    project_id: str | None = None
    network_type: str | None = field(default=None, name="provider:network_type")
    physical_network: str | None = field(default=None, name="provider:physical_network")
    segmentation_id: int | str | None = field(default=None, name="provider:segmentation_id")


class Change(Struct, forbid_unknown_fields=True):
    """The ``network`` of a PUT: what is absent stays as it is."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    mtu: int | str | UnsetType = UNSET
    shared: bool | UnsetType = UNSET
    external: bool | UnsetType = field(default=UNSET, name="router:external")
    is_default: bool | UnsetType = UNSET
    admin_state_up: bool | UnsetType = UNSET
    port_security_enabled: bool | UnsetType = UNSET


class NetworkWriter:
    """What the collection of networks is written by."""

    def __init__(self, database: Any, networks: Networks) -> None:
        self._database = database
        self._networks = networks

    async def create(self, call: Call) -> Reply:
        """One network, or several or none of them."""
        bodies, many = one_or_many(call, NETWORKS, New)
        rows = await self._networks.create_all(call.who, [_wanted(call, each) for each in bodies])
        uuids = [row.uuid for row in rows]
        if many:
            return Reply(201, await documents(self._database, call, NETWORKS, uuids))
        return Reply(201, await document(self._database, call, NETWORKS, uuids[0]))

    async def update(self, call: Call, ref: str) -> Reply:
        """Change what the body names."""
        changes = given(only(call, NETWORKS, Change))
        _refuse_switches(changes)
        if "mtu" in changes:
            changes["mtu"] = number("mtu", changes["mtu"]) or _USUAL_MTU
        if "external" in changes:
            changes["floating_ip_pool"] = changes["external"]
        row = await conditional(
            self._networks.change(
                call.who,
                ref,
                changes,
                revision=wanted_revision(call),
                request_id=call.request_id,
            )
        )
        return Reply(200, await document(self._database, call, NETWORKS, row.uuid))

    async def delete(self, call: Call, ref: str) -> Reply:
        """Delete it; clusters that have it remove it afterwards."""
        await conditional(
            self._networks.delete(
                call.who, ref, revision=wanted_revision(call), request_id=call.request_id
            )
        )
        return Reply(204)


def _refuse_switches(sent: dict[str, Any]) -> None:
    """Take out of a body what only has one value here, and refuse any other."""
    for name, only_value in (
        ("admin_state_up", True),
        ("port_security_enabled", True),
        ("is_default", False),
    ):
        if sent.pop(name, only_value) != only_value:
            raise BadRequest(
                f"Invalid input for {name}: it is always {str(only_value).lower()} on this cloud.",
                neutron_type="InvalidInput",
            )


def _wanted(call: Call, body: New) -> WantedNetwork:
    sent = given(body)
    _refuse_switches(sent)
    if body.availability_zone_hints:
        raise BadRequest(
            "A network is on every cluster that needs it: availability_zone_hints must be empty.",
            neutron_type="InvalidInput",
        )
    if None not in (body.tenant_id, body.project_id) and body.tenant_id != body.project_id:
        raise BadRequest("'project_id' and 'tenant_id' do not match.")
    flavor, bridge = _provider(call, body)
    return WantedNetwork(
        name=body.name,
        description=body.description,
        project_id=body.project_id or body.tenant_id,
        flavor=flavor,
        link=body.physical_network or None,
        number=bridge,
        shared=body.shared,
        external=body.external,
        floating_ip_pool=body.external,
        mtu=number("mtu", body.mtu) or _USUAL_MTU,
        # Its subnets come with further requests; clusters get it when a server needs it.
        everywhere=False,
    )


def _provider(call: Call, body: New) -> tuple[str, int | None]:
    """Flavor and number by the attributes of a provider."""
    chosen = (body.network_type, body.physical_network, body.segmentation_id)
    if chosen == (None, None, None):
        return (_EXTERNAL_FLAVOR if body.external else PRIVATE_FLAVOR), None
    if not call.who.admin:
        raise Forbidden("Only an administrator can choose the provider's attributes.")
    if body.network_type is None:
        raise BadRequest(
            "Invalid input for operation: provider:network_type is needed beside the other"
            " attributes of a provider.",
            neutron_type="InvalidInput",
        )
    flavor = _FLAVORS.get(body.network_type.lower())
    if flavor is None:
        raise BadRequest(
            f"Invalid input for operation: provider:network_type {body.network_type[:40]!r} is not"
            f" supported: use one of {', '.join(_FLAVORS)}.",
            neutron_type="InvalidInput",
        )
    return flavor, number("provider:segmentation_id", body.segmentation_id)
