"""Two projects for the requests that are made out of the OpenAPI documents."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_twisted

from tests.api.generated.two_projects import TwoProjects


@pytest_twisted.async_yield_fixture
async def two(dsn: str, tmp_path: Path) -> AsyncIterator[TwoProjects]:
    """A service and two projects that each have one of everything."""
    from twisted.internet import reactor

    made = TwoProjects(reactor, tmp_path, dsn)
    await made.start()
    yield made
    await made.stop()
