"""Network behind a real socket, over a database of its own."""

from __future__ import annotations

from typing import Any

import pytest_twisted

from cyclades_tx.api.network.app import mount
from cyclades_tx.api.network.networks import NetworkWriter
from cyclades_tx.api.network.subnets import SubnetWriter
from cyclades_tx.flows.network_tags import NetworkTags
from cyclades_tx.flows.networks import Networks
from cyclades_tx.flows.subnets import Subnets
from cyclades_tx.flows.value_pools import ValuePools
from cyclades_tx.model.who import ADMIN, Who
from cyclades_tx.testing import builders
from cyclades_tx.testing.loopback import Loopback
from tests.api.network.written import Writing

LIMITS = {"cyclades.network.private": 10, "cyclades.floating_ip": 5}


@pytest_twisted.async_yield_fixture
async def network(database: Any) -> Any:
    """The Network service on loopback."""
    from twisted.internet import reactor

    wire = Loopback(reactor, lambda frame: mount(frame, database, LIMITS))
    yield wire
    await wire.close()


@pytest_twisted.async_yield_fixture
async def writing(database: Any) -> Any:
    """The Network service with its writers, a pool of prefixes and a member."""
    from twisted.internet import reactor

    writers = {
        "networks": NetworkWriter(database, Networks(database)),
        "subnets": SubnetWriter(database, Subnets(database)),
    }
    wire = Loopback(
        reactor, lambda frame: mount(frame, database, LIMITS, writers, NetworkTags(database))
    )
    pools = ValuePools(database)
    await pools.create("mac_prefix", "aa:00:0", 1000)
    await pools.create("bridge", "prv", 20)
    yield Writing(database, wire, await builders.somebody(database))
    await wire.close()


@pytest_twisted.async_fixture
async def admin(database: Any) -> Who:
    """An administrator, in a project of his own."""
    return await builders.somebody(database, ADMIN)


@pytest_twisted.async_fixture
async def stranger(database: Any) -> Who:
    """Somebody of another project."""
    return await builders.somebody(database)
