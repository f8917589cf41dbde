"""The data of images over the real wire, kept in an Object Storage."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted

from cyclades_tx.testing.image_store_contract import IDENTITY
from tests.api.image.test_data import BASE, DATA, Ground, a_client, ground, queued, saving
from tests.image_store.memory_swift import MemorySwift
from tests.image_store.test_swift import a_store

__all__ = ["ground"]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said again is said soon."""
    monkeypatch.setattr("cyclades_tx.image_store.object_wire._PAUSES_SECONDS", (0.01, 0.02))


@pytest_twisted.async_yield_fixture
async def swift(ground: Ground) -> Any:
    """An Object Storage, in which the service keeps its images."""
    made = MemorySwift()
    made.listen(ground.reactor)
    store: Any = a_store(made)
    ground.store = ground.data.store = store
    await store.prepare(IDENTITY)
    yield made
    await made.close()


async def test_an_image_comes_and_goes(ground: Ground, swift: MemorySwift) -> None:
    """Sent, read in parts and by a signed URL, deleted; nothing stays."""
    uuid = await ground.image()
    assert (await ground.send(uuid)).status == 204
    assert (await ground.get(uuid)).body == DATA
    assert (await ground.get(uuid, Range="bytes=99990-100010")).body == DATA[99990:100011]
    signed = ground.signer.url(uuid).removeprefix("http://cloud.example")
    assert (await ground.wire.ask(signed)).body == DATA
    await ground.loop().sweep()
    assert (await ground.get(uuid)).body == DATA
    assert (await ground.wire.ask(f"{BASE}/{uuid}", ground.who, method="DELETE")).status == 204
    await ground.loop().sweep()
    assert swift.paths() == ["owner"]


@pytest.mark.parametrize("fault", [503, 507])
async def test_a_storage_that_fails_in_the_middle(
    ground: Ground, swift: MemorySwift, fault: int
) -> None:
    """503, a clear state, and the next try works."""
    uuid = await ground.image()
    swift.fail("PUT", "/000003", fault)
    assert (await ground.send(uuid)).status == 503
    await ground.waits_again(uuid)
    assert swift.paths() == ["owner"]
    assert (await ground.row(uuid)).upload_error
    assert (await ground.send(uuid)).status == 204
    assert (await ground.get(uuid)).body == DATA


async def test_an_upload_that_is_cut_leaves_nothing(ground: Ground, swift: MemorySwift) -> None:
    """Not in the Object Storage either."""
    uuid = await ground.image()
    client = await a_client(ground, uuid, f"Content-Length: {len(DATA)}", DATA[:700_000])
    await ground.until(lambda: saving(ground, uuid))
    client.transport.abortConnection()
    await ground.until(lambda: queued(ground, uuid))
    await ground.waits_again(uuid)
    assert swift.paths() == ["owner"]


async def test_a_storage_that_is_away_says_so(
    ground: Ground, swift: MemorySwift, logged_errors: Any
) -> None:
    """To who sends and to who reads; both work again when it is back."""
    uuid, other = await ground.image(), await ground.image()
    await ground.send(uuid)
    swift.fail("GET", "/objects/", 503, 9)
    swift.fail("HEAD", "/images", 503, 9)
    assert (await ground.get(uuid)).status == 503
    assert (await ground.send(other)).status == 503
    swift.faults.clear()
    assert (await ground.get(uuid)).body == DATA
    assert (await ground.send(other)).status == 204
