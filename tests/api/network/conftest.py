"""Network behind a real socket, over a database of its own."""

from __future__ import annotations

from typing import Any

import pytest_twisted

from cyclades_tx.api.network.app import mount
from cyclades_tx.testing.loopback import Loopback

LIMITS = {"cyclades.network.private": 10, "cyclades.floating_ip": 5}


@pytest_twisted.async_yield_fixture
async def network(database: Any) -> Any:
    """The Network service on loopback."""
    from twisted.internet import reactor

    wire = Loopback(reactor, lambda frame: mount(frame, database, LIMITS))
    yield wire
    await wire.close()
