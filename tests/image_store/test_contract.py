"""Both stores of images keep the promises of the interface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest_twisted

from cyclades_tx.image_store.directory import DirectoryImageStore
from cyclades_tx.image_store.memory import MemoryImageStore
from cyclades_tx.testing.image_store_contract import IDENTITY, ImageStoreContract


class TestDirectory(ImageStoreContract):
    """The store that is a directory."""

    @pytest_twisted.async_yield_fixture
    async def store(self, tmp_path: Path) -> Any:
        """One in a folder of its own."""
        from twisted.internet import reactor

        made = DirectoryImageStore(reactor, tmp_path / "images")
        await made.prepare(IDENTITY)
        yield made
        made.close()


class TestMemory(ImageStoreContract):
    """The double."""

    @pytest_twisted.async_yield_fixture
    async def store(self) -> Any:
        """An empty one."""
        from twisted.internet import reactor

        made = MemoryImageStore(reactor.seconds)  # type: ignore[attr-defined]
        await made.prepare(IDENTITY)
        yield made
        made.close()
