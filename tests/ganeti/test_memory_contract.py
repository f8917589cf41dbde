"""The memory Ganeti passes the contract, with and without kept connections."""

from __future__ import annotations

import pytest
from twisted.internet import reactor

from cyclades_tx.ganeti.simulator import MemoryGaneti
from cyclades_tx.testing.cluster_subject import ClusterSubject
from cyclades_tx.testing.ganeti_contract import cluster_contract


@pytest.fixture(params=[True, False], ids=["keep-alive", "close"])
def subject(request, serve, sleep) -> ClusterSubject:
    """A simulated cluster; creates take long enough to cancel what waits for them."""
    seconds = {"default": 0.02, "OP_INSTANCE_CREATE": 0.1}
    ganeti = MemoryGaneti(reactor, job_seconds=seconds, keep_alive=request.param)
    return ClusterSubject(connect=serve(ganeti).connect, sleep=sleep, bridge="br0")


TestMemoryGaneti = cluster_contract()
