"""Network behind a real socket, over a database of its own."""

from __future__ import annotations

from typing import Any

import pytest_twisted

from cyclades_tx.api.network.app import mount
from cyclades_tx.api.network.floating_ips import FloatingIpWriter
from cyclades_tx.api.network.networks import NetworkWriter
from cyclades_tx.api.network.ports import PortWriter
from cyclades_tx.api.network.routers import RouterWriter
from cyclades_tx.api.network.security_groups import GroupWriter, RuleWriter
from cyclades_tx.api.network.subnet_pools import SubnetPoolWriter
from cyclades_tx.api.network.subnets import SubnetWriter
from cyclades_tx.flows.floating_ips import FloatingIps
from cyclades_tx.flows.interfaces import Interfaces
from cyclades_tx.flows.network_tags import NetworkTags
from cyclades_tx.flows.networks import Networks
from cyclades_tx.flows.ports import Ports
from cyclades_tx.flows.routers import Routers
from cyclades_tx.flows.security_groups import SecurityGroups
from cyclades_tx.flows.subnet_pools import SubnetPools
from cyclades_tx.flows.subnets import Subnets
from cyclades_tx.flows.value_pools import ValuePools
from cyclades_tx.sections import GanetiSection, OperationsSection
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

    networks = Networks(database)
    interfaces = Interfaces(database, networks, GanetiSection(), OperationsSection())
    groups = SecurityGroups(database)
    writers = {
        "networks": NetworkWriter(database, networks),
        "ports": PortWriter(database, Ports(database, networks, interfaces)),
        "floatingips": FloatingIpWriter(database, FloatingIps(database, interfaces)),
        "routers": RouterWriter(database, Routers(database)),
        "security-groups": GroupWriter(database, groups),
        "security-group-rules": RuleWriter(database, groups),
        "subnets": SubnetWriter(database, Subnets(database)),
        "subnetpools": SubnetPoolWriter(database, SubnetPools(database)),
    }
    wire = Loopback(
        reactor, lambda frame: mount(frame, database, LIMITS, writers, NetworkTags(database))
    )
    pools = ValuePools(database)
    await pools.create("mac_prefix", "aa:00:0", 1000)
    await pools.create("bridge", "prv", 20)
    yield Writing(database, wire, await builders.somebody(database))
    await wire.close()
