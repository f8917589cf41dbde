"""``/operator/v1/servers``: how ``snf-manage server-create`` reaches the running service.

The secrets of a first boot live in the service's secret store and nowhere else, so a server
can only be created by the service itself. The door opens for tokens of the method
``operator`` alone, which nobody gets by logging in: the command writes one into the database for
a minute. It acts as an administrator in the name of the token's user and project.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
from msgspec import Struct, field

from cyclades_tx.api.call import Call, Reply, Service
from cyclades_tx.api.compute.new_server import metadata_of, name_of
from cyclades_tx.api.errors import nova_fault
from cyclades_tx.api.frame import Frame
from cyclades_tx.errors import NotFound
from cyclades_tx.flows.servers import Servers
from cyclades_tx.model.operator_door import METHOD, SERVERS_PATH
from cyclades_tx.model.server import NewServer, WantedNic
from cyclades_tx.model.who import ADMIN

SERVICE = Service("operator", nova_fault)


class WantedNetwork(Struct, forbid_unknown_fields=True, frozen=True):
    """An interface of the new server."""

    network: str
    address: str | None = None


class Wanted(Struct, forbid_unknown_fields=True, frozen=True):
    """The body: UUIDs of flavor, image and networks, and the id of a cluster.

    :ivar networks: None: the usual ones; []: no interface at all.
    :ivar cluster_id: None: the allocator chooses.
    """

    name: str
    flavor: str
    image: str
    networks: list[WantedNetwork] | None = None
    key_name: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    admin_password: str | None = None
    cluster_id: int | None = None

    def __repr__(self) -> str:
        return f"<Wanted {self.name!r}>"


_DECODER = msgspec.json.Decoder(Wanted)


def mount(frame: Frame, servers: Servers) -> None:
    """Add the endpoint to the API."""

    async def create(call: Call) -> Reply:
        """Create one server in the name of the token's user."""
        if METHOD not in call.who.methods:
            # Nothing that a user's token should learn of.
            raise NotFound("The resource could not be found.")
        # An operator is also told what users are not: why each cluster does not take it.
        call.who = replace(call.who, roles=call.who.roles | {ADMIN})
        wanted = call.json(_DECODER)
        created = await servers.create(call.who, _new(wanted), call.request_id)
        document: dict[str, Any] = {
            "uuid": created.uuids[0],
            "admin_password": created.admin_password,
            "request_id": call.request_id,
        }
        return Reply(202, document, {"cache-control": "no-store"})

    frame.mount("/operator", SERVICE)
    # A reader's role does not matter here: the token itself is the permission.
    frame.endpoint(SERVICE, "POST", SERVERS_PATH, create, write=False)


def _new(wanted: Wanted) -> NewServer:
    networks = wanted.networks
    return NewServer(
        name=name_of("name", wanted.name),
        flavor_ref=wanted.flavor,
        image_ref=wanted.image,
        networks=None
        if networks is None
        else tuple(WantedNic(network_ref=each.network, fixed_ip=each.address) for each in networks),
        key_name=wanted.key_name,
        metadata=metadata_of(wanted.metadata),
        admin_password=wanted.admin_password or None,
        cluster_id=wanted.cluster_id,
    )
