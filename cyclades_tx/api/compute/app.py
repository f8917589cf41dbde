"""Compute: which file answers which path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cyclades_tx.api import openapi
from cyclades_tx.api.compute import (
    actions,
    addresses,
    consoles,
    extensions,
    flavor_changes,
    flavors,
    floating_ips,
    groups,
    hosts,
    hypervisors,
    images,
    instance_actions,
    keypairs,
    metadata,
    networks,
    proxies,
    quotas,
    security_groups,
    server_groups,
    servers,
    tags,
    usage,
    versions,
    volume_attachments,
    zones,
)
from cyclades_tx.api.compute import limits as limit_views
from cyclades_tx.api.compute.openapi import REFERENCE
from cyclades_tx.api.compute.queries import strict
from cyclades_tx.api.compute.routes import SERVICE, Routes
from cyclades_tx.api.frame import Frame
from cyclades_tx.flows.consoles import Consoles
from cyclades_tx.flows.flavors import Flavors
from cyclades_tx.flows.interfaces import Interfaces
from cyclades_tx.flows.keypairs import KeyPairs
from cyclades_tx.flows.quotas import Quotas
from cyclades_tx.flows.server_groups import ServerGroups
from cyclades_tx.flows.servers import Servers
from cyclades_tx.flows.volume_attachments import VolumeAttachments


def mount(
    frame: Frame,
    database: Any,
    servers_flow: Servers,
    keypairs_flow: KeyPairs,
    *,
    instance_prefix: str = "snf-",
    limits: Mapping[str, int | None] | None = None,
    interfaces_flow: Interfaces | None = None,
    more_actions: Mapping[str, actions.Action] | None = None,
    consoles_flow: Consoles | None = None,
    volumes_flow: VolumeAttachments | None = None,
    old_flows: proxies.Flows | None = None,
) -> None:
    """Add all of Compute to the frame.

    :param database: an IDatabase.
    :param instance_prefix: what the names of the instances at Ganeti begin with; administrators
        see them.
    :param limits: what new projects may have of each resource.
    :param interfaces_flow: None: the interfaces of servers are only read.
    :param more_actions: see :func:`.interfaces.actions` and :func:`.consoles.actions`.
    :param consoles_flow: None: no console is opened here.
    :param volumes_flow: None: the volumes of servers are only read.
    :param old_flows: of what Compute once passed on to other services; None: there is none of it.
    """
    frame.mount("/compute", SERVICE)
    versions.mount(frame)
    routes = Routes(frame, strict)
    views = servers.Views(database, servers_flow, instance_prefix)
    views.mount(routes)
    actions.mount(routes, servers_flow, views, more_actions)
    metadata.mount(routes, database, servers_flow)
    tags.mount(routes, database, servers_flow)
    addresses.mount(routes, database, interfaces_flow)
    volume_attachments.mount(routes, database, volumes_flow)
    instance_actions.mount(routes, database)
    flavors.mount(routes, database)
    flavor_changes.mount(routes, database, Flavors(database))
    keypairs.mount(routes, database, keypairs_flow)
    limit_views.mount(routes, database)
    quotas.mount(routes, database, Quotas(database, limits))
    usage.mount(routes, database)
    zones.mount(routes, database)
    groups.mount(routes, database)
    server_groups.mount(routes, database, ServerGroups(database))
    hypervisors.mount(routes, database, instance_prefix)
    hosts.mount(routes, database)
    consoles.mount(routes, consoles_flow)
    extensions.mount(routes)
    if old_flows is not None:
        once = proxies.Proxies(routes)
        floating_ips.mount(once, database, old_flows.floating_ips)
        security_groups.mount(once, database, old_flows.security_groups)
        networks.mount(once, database)
        images.mount(once, database, old_flows.images)
    openapi.mount(frame, SERVICE, REFERENCE)
