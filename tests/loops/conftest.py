"""A cloud for the loops' tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest_twisted

from tests.loops.cloud import Cloud


@pytest_twisted.async_yield_fixture
async def make_cloud(dsn: str, tmp_path: Path) -> Any:
    """Return a function that makes a cloud; it is closed after the test."""
    from twisted.internet import reactor

    made: list[Cloud] = []

    def make(more: str = "", ganeti: dict[str, Any] | None = None) -> Cloud:
        made.append(Cloud(reactor, tmp_path, dsn, more, ganeti))
        return made[-1]

    yield make
    for cloud in made:
        await cloud.close()


@pytest_twisted.async_fixture
async def cloud(make_cloud: Callable[..., Cloud]) -> Cloud:
    """A cloud with one cluster that nobody drives yet."""
    made = make_cloud()
    await made.equip()
    return made


@pytest_twisted.async_fixture
async def driven(cloud: Cloud) -> Cloud:
    """The same, driven."""
    await cloud.drive()
    return cloud
