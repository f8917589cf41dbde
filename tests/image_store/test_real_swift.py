"""The contract of a store of images against a real Swift, which is installed for it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted

from cyclades_tx.errors import Unavailable
from cyclades_tx.image_store.interfaces import StoreFull
from cyclades_tx.image_store.object_wire import ObjectWire
from cyclades_tx.image_store.swift import SwiftImageStore
from cyclades_tx.image_store.threads import Threads
from cyclades_tx.testing.expected import raised
from cyclades_tx.testing.image_store_contract import (
    DATA,
    IDENTITY,
    ImageStoreContract,
    a_name,
    names,
    written,
)
from tests.image_store.memory_swift import MemorySwift
from tests.image_store.test_swift import SEGMENT_BYTES, login
from tests.real.swift import RealSwift

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealSwift]:
    """A Swift for all tests."""
    made = RealSwift(tmp_path_factory.mktemp("swift"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest_twisted.async_yield_fixture
async def keystone(real: RealSwift) -> Any:
    """A Keystone that sends everybody to it."""
    from twisted.internet import reactor

    made = MemorySwift()
    made.listen(reactor)
    made.account_url, made.next_token = real.account_url, real.token()
    yield made
    await made.close()


@pytest_twisted.async_yield_fixture
async def store(keystone: Any) -> Any:
    """A store in a container of its own."""
    from twisted.internet import reactor

    wire = ObjectWire(reactor, login(keystone), 30.0)
    made = SwiftImageStore(wire, a_name(), SEGMENT_BYTES, Threads(reactor, 2))
    await made.prepare(IDENTITY)
    yield made
    made.close()


class TestRealSwift(ImageStoreContract):
    """A real one, in many segments."""


async def test_a_cut_upload_leaves_nothing(store: Any) -> None:
    """The segment that was being sent is none, and the next try works."""
    upload = await store.begin(a_name())
    await upload.write(DATA[: 2 * SEGMENT_BYTES + 10])
    await upload.cancel()
    assert await names(store) == []
    assert await store._list("segments/") == []
    name = a_name()
    assert (await written(store, name, DATA)).sha512 == hashlib.sha512(DATA).hexdigest()
    reader = await store.open(name)
    parts = [await reader.read(place, 70_000) for place in range(0, len(DATA), 70_000)]
    assert b"".join(parts) == DATA
    await reader.close()


async def test_a_quota_is_seen_before_and_in_the_middle(store: Any) -> None:
    """The container's."""
    container = store.path().rstrip("/")
    quota = {"X-Container-Meta-Quota-Bytes": "150000"}
    await store.wire.ask("POST", container, (204,), headers=quota)
    await raised(StoreFull, store.begin(a_name(), 200_000))
    upload = await store.begin(a_name())

    async def send() -> None:
        for first in range(0, len(DATA), 50_000):
            await upload.write(DATA[first : first + 50_000])
        await upload.finish()

    # Swift counts what is in the container now and then, so it may take some more.
    try:
        await send()
    except Unavailable as error:
        assert isinstance(error, StoreFull)
    await upload.cancel()
    assert await names(store) == []


async def test_a_token_that_was_revoked_is_renewed(store: Any, keystone: Any) -> None:
    """The Keystone is asked again."""
    name = a_name()
    await written(store, name, DATA)
    session = await store.wire.log_in()
    store.wire._keystone._session = type(session)("AUTH_nonsense", session.url, session.ends)
    assert await names(store) == [(name, True)]
    assert keystone.logins == 2
