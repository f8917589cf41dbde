"""What all tests of the API share: strict replies, and the real application."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

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
