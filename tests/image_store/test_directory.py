"""The directory: its files, and what happens when the disk does not go along."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from cyclades_tx.errors import ConfigError, Unavailable
from cyclades_tx.image_store.directory import DirectoryImageStore
from cyclades_tx.image_store.interfaces import NoObject, StoreFull
from cyclades_tx.testing.expected import raised
from cyclades_tx.testing.image_store_contract import IDENTITY, a_name, names, written


@pytest_twisted.async_yield_fixture
async def store(tmp_path: Path) -> Any:
    """A store in a folder of its own."""
    from twisted.internet import reactor

    made = DirectoryImageStore(reactor, tmp_path / "images")
    await made.prepare(IDENTITY)
    yield made
    made.close()


def files(folder: Path) -> list[str]:
    """Every file below a folder but the mark."""
    found = [str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()]
    return sorted(set(found) - {"owner"})


async def test_files_are_where_they_should_be_and_for_the_service_alone(
    store: Any, tmp_path: Path
) -> None:
    """What is being written apart from what is whole."""
    root = tmp_path / "images"
    name, other = a_name(), a_name()
    await written(store, name, b"x")
    upload = await store.begin(other)
    assert files(root) == sorted([f"objects/{name[:2]}/{name}", f"incoming/{other}"])
    for path in [root, *root.rglob("*/*")]:
        assert path.stat().st_mode & 0o077 == 0
    await upload.cancel()


@pytest.mark.parametrize(
    ("number", "kind"), [("ENOSPC", StoreFull), ("EDQUOT", StoreFull), ("EIO", Unavailable)]
)
async def test_a_disk_that_fails_in_the_middle_leaves_nothing(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: str, kind: type
) -> None:
    """Its word is a sentence without a path."""
    upload = await store.begin(a_name())
    await upload.write(b"x" * 100)
    real = os.write

    def fail(descriptor: int, data: Any) -> int:
        # The reactor's own waker writes too.
        if len(data) != 50:
            return real(descriptor, data)
        raise OSError(getattr(errno, number), os.strerror(getattr(errno, number)))

    monkeypatch.setattr(os, "write", fail)
    error = await raised(kind, upload.write(b"y" * 50))
    monkeypatch.undo()
    assert str(tmp_path) not in str(error)
    await upload.cancel()
    assert files(tmp_path / "images") == []


async def test_a_write_may_take_less_than_it_was_given(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest follows."""
    name = a_name()
    upload = await store.begin(name)
    real = os.write

    def little(descriptor: int, data: Any) -> int:
        return real(descriptor, data[:7] if len(data) > 50 else data)

    monkeypatch.setattr(os, "write", little)
    await upload.write(bytes(range(100)))
    monkeypatch.undo()
    await upload.finish()
    reader = await store.open(name)
    assert await reader.read(0, 200) == bytes(range(100))
    await reader.close()


async def test_a_link_in_an_objects_place_is_not_followed(store: Any, tmp_path: Path) -> None:
    """Nothing outside can be read through the store."""
    outside = tmp_path / "secret"
    outside.write_text("hush")
    name = a_name()
    place = store.place(name)
    place.parent.mkdir()
    place.symlink_to(outside)
    await raised(Unavailable, store.open(name))


async def test_what_a_killed_process_left_is_found(store: Any, tmp_path: Path) -> None:
    """By the next one, which starts with the same directory; strange files are left alone."""
    from twisted.internet import reactor

    name = a_name()
    await (await store.begin(name)).write(b"half")
    (tmp_path / "images" / "incoming" / "notes.txt").write_text("an operator's")
    after = DirectoryImageStore(reactor, tmp_path / "images")
    await after.prepare(IDENTITY)
    assert await names(after) == [(name, False)]
    await raised(NoObject, after.open(name))
    assert await after.remove(name)
    assert files(tmp_path / "images") == ["incoming/notes.txt"]
    after.close()


async def test_a_mark_that_was_never_written_is_written(tmp_path: Path) -> None:
    """A process that is killed at its first start keeps nobody out."""
    from twisted.internet import reactor

    root = tmp_path / "images"
    root.mkdir()
    (root / "owner").touch()
    store = DirectoryImageStore(reactor, root)
    await store.prepare(IDENTITY)
    assert (root / "owner").read_text() == IDENTITY + "\n"
    store.close()


async def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """The start then says so."""
    from twisted.internet import reactor

    (tmp_path / "file").touch()
    store = DirectoryImageStore(reactor, tmp_path / "file" / "images")
    error = await raised(ConfigError, store.prepare(IDENTITY))
    assert "image.directory" in str(error)
    store.close()


async def test_a_closed_store_takes_nothing(store: Any) -> None:
    """Whoever asks is told to come again."""
    store.close()
    await raised(Unavailable, store.begin(a_name()))
