"""What every store of images must do, wherever the bytes lie: a suite of tests to inherit.

Subclass :class:`ImageStoreContract` as ``Test…`` and give a fixture ``store``: a store that is
prepared for :data:`IDENTITY`, and empty.
"""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import uuid4

from cyclades_tx.errors import ConfigError, CycladesError
from cyclades_tx.image_store.interfaces import NoObject, StoreFull
from cyclades_tx.testing.expected import raised

IDENTITY = "7f1c6a52-9a1d-4a58-9f10-2a2f3f0f2a11"
DATA = bytes(range(256)) * 4096


def a_name() -> str:
    """The name of a new object."""
    return uuid4().hex


async def written(store: Any, name: str, *pieces: bytes) -> Any:
    """Write a whole object; what is known of it."""
    upload = await store.begin(name)
    for piece in pieces:
        await upload.write(piece)
    return await upload.finish()


async def names(store: Any) -> list[tuple[str, bool]]:
    """What a store holds, and whether it is whole."""
    return [(each.name, each.whole) for each in await store.kept()]


class ImageStoreContract:
    """The promises of :class:`~cyclades_tx.image_store.interfaces.IImageStore`."""

    async def test_what_was_written_is_read(self, store: Any) -> None:
        """From any place on, and its checksums are those of the bytes."""
        name = a_name()
        sums = await written(store, name, DATA[:10], DATA[10:], b"")
        assert sums.size_bytes == len(DATA)
        assert sums.md5 == hashlib.md5(DATA).hexdigest()
        assert sums.sha512 == hashlib.sha512(DATA).hexdigest()
        reader = await store.open(name)
        assert reader.size_bytes == len(DATA)
        assert await reader.read(0, 2**21) == DATA
        assert await reader.read(5, 7) == DATA[5:12]
        assert await reader.read(len(DATA) - 1, 100) == DATA[-1:]
        assert await reader.read(len(DATA), 1) == b""
        await reader.close()
        assert await names(store) == [(name, True)]

    async def test_an_object_may_be_empty(self, store: Any) -> None:
        """It is one all the same."""
        name = a_name()
        assert (await written(store, name)).size_bytes == 0
        reader = await store.open(name)
        assert (reader.size_bytes, await reader.read(0, 10)) == (0, b"")
        await reader.close()

    async def test_what_is_not_finished_is_no_object(self, store: Any) -> None:
        """It is known as what was left, and can be removed by its name."""
        name = a_name()
        upload = await store.begin(name)
        await upload.write(DATA)
        await raised(NoObject, store.open(name))
        assert await names(store) == [(name, False)]
        assert await store.remove(name)
        assert await names(store) == []
        await upload.cancel()

    async def test_a_cancelled_upload_leaves_nothing(self, store: Any) -> None:
        """Before and after its end, and as often as one likes."""
        name, other = a_name(), a_name()
        upload = await store.begin(name)
        await upload.write(DATA)
        await upload.cancel()
        await upload.cancel()
        second = await store.begin(other)
        await second.write(DATA)
        await second.finish()
        await second.cancel()
        assert await names(store) == []
        await raised(NoObject, store.open(name))
        await raised(NoObject, store.open(other))

    async def test_an_object_that_is_read_may_be_removed(self, store: Any) -> None:
        """Whoever reads it gets the rest of it."""
        name = a_name()
        await written(store, name, DATA)
        reader = await store.open(name)
        assert await store.remove(name)
        assert not await store.remove(name)
        assert await reader.read(100, 50) == DATA[100:150]
        await reader.close()
        await raised(NoObject, store.open(name))

    async def test_a_name_is_used_once(self, store: Any) -> None:
        """Nobody writes over what somebody else writes."""
        name = a_name()
        upload = await store.begin(name)
        await raised(Exception, store.begin(name))
        await upload.write(b"first")
        await upload.finish()
        reader = await store.open(name)
        assert await reader.read(0, 100) == b"first"
        await reader.close()

    async def test_only_names_of_objects_are_names(self, store: Any) -> None:
        """No path, nothing that goes up, nothing that ends in a line."""
        for name in ("", "..", "a" * 31, "../" + "a" * 29, "A" * 32, "a" * 32 + "\n", "a/" * 16):
            for call in (store.begin, store.open, store.remove):
                await raised(ValueError, call(name))

    async def test_what_does_not_fit_is_refused_at_once(self, store: Any) -> None:
        """And leaves nothing."""
        error = await raised(StoreFull, store.begin(a_name(), 2**62))
        assert isinstance(error, CycladesError)
        assert await names(store) == []

    async def test_another_databases_store_is_left_alone(self, store: Any) -> None:
        """Its own comes back to it."""
        await raised(ConfigError, store.prepare("another"))
        await store.prepare(IDENTITY)

    async def test_when_something_was_written_is_known(self, store: Any) -> None:
        """So that what is young can be left alone."""
        await written(store, a_name(), b"x")
        (kept,) = await store.kept()
        assert kept.changed_at > 0
