"""The URL of a first boot: its document is given out once."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from cyclades_tx.api import vmapi
from cyclades_tx.testing.loopback import Loopback
from cyclades_tx.vault import MemorySecretStore

URL = "/vmapi/v1.0/server-params/"


class Door:
    """The endpoint on a socket, and what is behind it."""

    def __init__(self, reactor: Any) -> None:
        self.clock = Clock()
        self.vault = MemorySecretStore(self.clock)
        self.wire = Loopback(reactor, lambda frame: vmapi.mount(frame, self.vault))


@pytest_twisted.async_yield_fixture
async def door() -> Any:
    """A door that listens."""
    from twisted.internet import reactor

    made = Door(reactor)
    await made.vault.put("token", b'{"img_passwd": "x"}', 60)
    yield made
    await made.wire.close()


async def test_the_document_is_given_once_and_kept_by_nobody(door: Door) -> None:
    """Neither by us nor by a proxy on the way."""
    first = await door.wire.ask(URL + "token")
    assert (first.status, first.body) == (200, b'{"img_passwd": "x"}')
    assert first.headers["cache-control"] == "no-store"
    assert first.headers["content-type"] == "application/json"
    second = await door.wire.ask(URL + "token")
    assert second.status == 404
    assert second.json["itemNotFound"]["code"] == 404


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
async def test_only_a_get_spends_it(door: Door, method: str) -> None:
    """A HEAD would spend it without giving it."""
    assert (await door.wire.ask(URL + "token", method=method)).status in (404, 405)
    assert (await door.wire.ask(URL + "token")).status == 200


@pytest.mark.parametrize("text", ["x", "token2", "%00", "token%00", "x" * 129, "%C3%BC", "tok/en"])
async def test_unknown_tokens_are_404(door: Door, text: str) -> None:
    """All alike."""
    answer = await door.wire.ask(URL + text)
    assert answer.status == 404
    assert set(answer.json) == {"itemNotFound"}
    assert (await door.wire.ask(URL + "token")).status == 200


async def test_an_expired_secret_is_404(door: Door) -> None:
    """As if it had never been."""
    door.clock.advance(61)
    assert (await door.wire.ask(URL + "token")).status == 404


async def test_a_token_does_not_come_into_the_log(door: Door) -> None:
    """Neither where it opens something nor where it does not."""
    from twisted.logger import globalLogPublisher

    events: list[Any] = []
    globalLogPublisher.addObserver(events.append)
    try:
        await door.wire.ask(URL + "token")
        await door.wire.ask(URL + "token", method="HEAD")
    finally:
        globalLogPublisher.removeObserver(events.append)
    lines = [event for event in events if event.get("log_format") == "request.done"]
    assert lines
    assert not [event for event in lines if "server-params/token" in str(event)]
