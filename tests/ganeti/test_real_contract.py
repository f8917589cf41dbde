"""A real Ganeti passes the contract."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet import reactor

from cyclades_tx.ganeti.rapi import RapiAddress, RapiCluster, RapiCredentials
from cyclades_tx.testing.cluster_subject import ClusterSubject
from cyclades_tx.testing.ganeti_contract import cluster_contract
from tests.real.ganeti import GANETIS, RealGaneti

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("machines")]


@pytest.fixture(scope="module")
def real() -> RealGaneti:
    """One real cluster; the run's end removes it."""
    return GANETIS.get(1)[0]


@pytest_twisted.async_yield_fixture
async def subject(real: RealGaneti, sleep):
    """The real cluster, reached with its pinned certificate."""
    clients = []

    def connect(username: str = real.username, password: str = real.password, **options):
        address = RapiAddress(real.address, real.port, certificate_pem=real.certificate_pem)
        client = RapiCluster(reactor, address, RapiCredentials(username, password), **options)
        clients.append(client)
        return client

    subject = ClusterSubject(
        connect=connect,
        sleep=sleep,
        group=real.group,
        os=real.os,
        link=real.link,
        bridge=real.bridge,
    )
    yield subject
    left = [name for name in real.instances() if name.startswith(subject.prefix)]
    for name in left:
        real.command("gnt-instance", "remove", "--force", "--shutdown-timeout=0", name)
    for client in clients:
        await client.close()


TestRealGaneti = cluster_contract()
