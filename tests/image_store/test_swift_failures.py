"""What a store in an Object Storage lets go of when something fails: connections, names, turns."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import DeferredList, ensureDeferred
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import deferLater

from cyclades_tx.errors import ConfigError, Unavailable
from cyclades_tx.testing.expected import raised
from cyclades_tx.testing.image_store_contract import DATA, IDENTITY, a_name, names, written
from tests.image_store.memory_swift import MemorySwift
from tests.image_store.test_swift import a_store, certificate

PATIENCE_SECONDS = 30.0


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said again is said soon."""
    monkeypatch.setattr("cyclades_tx.image_store.object_wire._PAUSES_SECONDS", (0.01, 0.02))


@pytest_twisted.async_yield_fixture
async def swift() -> Any:
    """An Object Storage."""
    from twisted.internet import reactor

    made = MemorySwift()
    made.listen(reactor)
    yield made
    await made.close()


@pytest_twisted.async_yield_fixture
async def store(swift: Any) -> Any:
    """A store in it."""
    made = a_store(swift)
    await made.prepare(IDENTITY)
    yield made
    made.close()


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something."""
    from twisted.internet import reactor

    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, what
        await deferLater(reactor, 0.01)


def connections(swift: MemorySwift, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The connections of all requests from now on, while they are there."""
    found: list[Any] = []
    answer = swift.render

    def render(request: Any) -> Any:
        found.append(request.channel.transport)
        return answer(request)

    monkeypatch.setattr(swift, "render", render)
    return found


async def test_an_upload_whose_segments_cannot_be_removed_ends(swift: Any, store: Any) -> None:
    """Without a word to whoever gave it up; the sweep finds what is left."""
    name = a_name()
    upload = await store.begin(name)
    await upload.write(DATA)
    swift.fail("DELETE", "/segments/", 503, 1000)
    await upload.cancel()
    assert await names(store) == [(name, False)]
    await raised(Unavailable, store.remove(name))
    swift.faults.clear()
    assert await store.remove(name)
    assert swift.paths() == ["owner"]


async def test_a_read_object_that_could_not_go_is_found(swift: Any, store: Any) -> None:
    """Its last reader could not remove its bytes; who sweeps can, later."""
    name = a_name()
    await written(store, name, DATA)
    reader = await store.open(name)
    assert await store.remove(name)
    swift.fail("DELETE", "/segments/", 503, 1000)
    await reader.close()
    swift.faults.clear()
    assert await names(store) == [(name, False)]
    assert await store.remove(name)
    assert swift.paths() == ["owner"]


async def test_a_segment_without_an_answer_lets_its_connection_go(swift: Any, store: Any) -> None:
    """Whoever does not answer is not kept; nor when the upload is given up meanwhile."""
    swift.fail("PUT", "/segments/", "hang", 2)
    upload = await store.begin(a_name())
    store.wire._timeout_seconds = 0.2
    await raised(Unavailable, upload.write(DATA[:100_000]))
    store.wire._timeout_seconds = PATIENCE_SECONDS
    await until(lambda: swift.hung[0].channel is None, "the connection is cut")
    await upload.cancel()
    upload = await store.begin(a_name())
    writing = ensureDeferred(upload.write(DATA[:100_000]))
    await until(lambda: len(swift.hung) == 2, "the segment was sent")
    writing.cancel()
    await DeferredList([writing], consumeErrors=True)
    await until(lambda: swift.hung[1].channel is None, "the connection is cut")
    await upload.cancel()
    assert swift.paths() == ["owner"]


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
async def test_a_read_that_is_given_up_lets_its_connection_go(
    tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, also while the other side was told to pause."""
    from twisted.internet import reactor

    swift, authorities, options = MemorySwift(), "", None
    if tls:
        pem, authorities = certificate()
        options = PrivateCertificate.loadPEM(pem).options()
    swift.listen(reactor, options)
    store = a_store(swift, 2**28, authorities=authorities)
    await store.prepare(IDENTITY)
    name = a_name()
    await written(store, name, DATA * 16)
    reader = await store.open(name)
    there = connections(swift, monkeypatch)
    assert await reader.read(0, 10) == DATA[:10]
    await until(lambda: reader._stream._body.pieces.paused, "more has come than is wanted")
    await reader.close()
    await until(lambda: not any(each.connected for each in there), "the connection is cut")
    store.close()
    await swift.close()


async def test_who_waits_for_a_login_shares_its_failure(swift: Any, store: Any) -> None:
    """Many wait as long as one for a Keystone that does not answer."""
    swift.tokens.clear()
    store.wire._keystone._session = None
    before = len(swift.asked)
    swift.fail("POST", "/auth/tokens", "hang", 1000)
    store.wire._timeout_seconds = 0.2
    asked = [ensureDeferred(store.kept()) for _ in range(20)]
    results = await DeferredList(asked, consumeErrors=True)
    assert {type(result.value) for _, result in results} == {Unavailable}
    assert len(swift.asked) - before < 20  # each asks three times, and all of them together
    swift.faults.clear()
    store.wire._timeout_seconds = PATIENCE_SECONDS
    assert await names(store) == []


async def test_who_waits_for_a_look_whose_it_is_shares_its_failure(swift: Any) -> None:
    """Another database's container is asked for once, not by each in turn."""
    first = a_store(swift)
    await first.prepare("another database")
    first.close()
    store = a_store(swift)
    await raised(ConfigError, store.prepare(IDENTITY))
    before = len(swift.asked)
    asked = [ensureDeferred(store.kept()) for _ in range(20)]
    results = await DeferredList(asked, consumeErrors=True)
    assert {type(result.value) for _, result in results} == {Unavailable}
    assert len(swift.asked) - before == 1
    store.close()
