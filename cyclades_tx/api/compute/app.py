"""Compute: which file answers which path."""

from __future__ import annotations

from typing import Any

from cyclades_tx.api.compute import (
    actions,
    addresses,
    extensions,
    flavors,
    groups,
    hosts,
    instance_actions,
    keypairs,
    limits,
    metadata,
    quotas,
    servers,
    tags,
    versions,
    zones,
)
from cyclades_tx.api.compute.routes import SERVICE, Routes
from cyclades_tx.api.frame import Frame
from cyclades_tx.flows.keypairs import KeyPairs
from cyclades_tx.flows.servers import Servers


def mount(
    frame: Frame,
    database: Any,
    servers_flow: Servers,
    keypairs_flow: KeyPairs,
    *,
    instance_prefix: str = "snf-",
) -> None:
    """Add all of Compute to the frame.

    :param database: an IDatabase.
    :param instance_prefix: what the names of the instances at Ganeti begin with; administrators
        see them.
    """
    frame.mount("/compute", SERVICE)
    versions.mount(frame)
    routes = Routes(frame)
    views = servers.Views(database, servers_flow, instance_prefix)
    views.mount(routes)
    actions.mount(routes, servers_flow)
    metadata.mount(routes, database, servers_flow)
    tags.mount(routes, database, servers_flow)
    addresses.mount(routes, database)
    instance_actions.mount(routes, database)
    flavors.mount(routes, database)
    keypairs.mount(routes, database, keypairs_flow)
    limits.mount(routes, database)
    quotas.mount(routes, database)
    zones.mount(routes, database)
    groups.mount(routes, database)
    hosts.mount(routes)
    extensions.mount(routes)
