"""What all tests of the API share: strict replies, the real application, and other people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from cyclades_tx.model.who import ADMIN, Who
from cyclades_tx.testing import builders
from tests.api.application import Application
from tests.api.strict import StrictReplies


@pytest.fixture(autouse=True)
def strict_replies(monkeypatch: pytest.MonkeyPatch) -> Iterator[StrictReplies]:
    """Fail the test when a reply does not fit the schema of its microversion."""
    strict = StrictReplies()
    strict.watch(monkeypatch)
    yield strict
    if strict.misfits:
        pytest.fail("outside the schema:\n" + "\n".join(strict.misfits[:20]), pytrace=False)


@pytest_twisted.async_yield_fixture
async def application(dsn: str, tmp_path: Path) -> Any:
    """Two processes of the service on one database, without loops."""
    from twisted.internet import reactor

    running = Application(reactor, tmp_path, dsn)
    await running.start()
    yield running
    await running.stop()


@pytest_twisted.async_fixture
async def stranger(database: Any) -> Who:
    """Somebody of another project."""
    return await builders.somebody(database)


@pytest_twisted.async_fixture
async def admin(database: Any) -> Who:
    """An administrator, in a project of his own."""
    return await builders.somebody(database, ADMIN)
