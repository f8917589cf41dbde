"""Volume: which file answers which path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cyclades_tx.api import openapi
from cyclades_tx.api.frame import Frame
from cyclades_tx.api.volume import (
    actions,
    attachments,
    metadata,
    quotas,
    refused,
    surroundings,
    transfers,
    types,
    versions,
)
from cyclades_tx.api.volume import volumes as volume_views
from cyclades_tx.api.volume.openapi import REFERENCE
from cyclades_tx.api.volume.routes import SERVICE, Routes
from cyclades_tx.flows.volume_quotas import VolumeQuotas
from cyclades_tx.flows.volume_transfers import VolumeTransfers
from cyclades_tx.flows.volume_types import VolumeTypes
from cyclades_tx.flows.volumes import Volumes


def mount(
    frame: Frame,
    database: Any,
    volumes: Volumes,
    *,
    limits: Mapping[str, int | None] | None = None,
) -> None:
    """Add all of Volume to the frame.

    :param database: an IDatabase.
    :param limits: what new projects may have of each resource.
    """
    frame.mount("/volume", SERVICE)
    versions.mount(frame)
    routes = Routes(frame)

    async def check(who: Any, ref: str) -> None:
        await volumes.check(who, ref)

    volume_views.mount(routes, database, volumes)
    metadata.mount(routes, database, volumes)
    actions.mount(routes, volumes)
    types.mount(routes, database, VolumeTypes(database))
    transfers.mount(routes, database, VolumeTransfers(database))
    attachments.mount(routes, database)
    quotas.mount(routes, database, VolumeQuotas(database, limits))
    surroundings.mount(routes, database)
    refused.mount(routes, check)
    openapi.mount(frame, SERVICE, REFERENCE)
