"""Image behind a real socket, over a database of its own."""

from __future__ import annotations

from typing import Any

import pytest_twisted

from cyclades_tx.api.image.app import mount
from cyclades_tx.testing.loopback import Loopback


@pytest_twisted.async_yield_fixture
async def image(database: Any) -> Any:
    """The Image service on loopback."""
    from twisted.internet import reactor

    wire = Loopback(reactor, lambda frame: mount(frame, database))
    yield wire
    await wire.close()
