"""The watch: every rename into the queue is told, and whatever may have been missed as well."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import inotify
from twisted.internet.task import deferLater

from cyclades_tx.gtools import watch
from cyclades_tx.gtools.watch import QueueWatch
from tests.gtools.jobs import Queue, startup
from tests.gtools.values import HANG_SECONDS


class Watched:
    """A queue with a watch on it, and what the watch told."""

    def __init__(self, queue: Queue, scan_seconds: float = 3600.0) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.queue = queue
        self.changed: list[int] = []
        self.looks: list[str] = []
        self.watch = QueueWatch(
            reactor, str(queue.jobs), self.changed.append, self.looks.append, scan_seconds
        )

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds."""
        end = self.reactor.seconds() + HANG_SECONDS
        while not holds():
            assert self.reactor.seconds() < end, (self.changed, self.looks)
            await deferLater(self.reactor, 0.005)


@pytest_twisted.async_yield_fixture
async def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A watch that has begun."""
    monkeypatch.setattr(watch, "RETRY_SECONDS", 0.02)
    made = Watched(Queue(tmp_path / "ganeti"))
    made.watch.start()
    yield made
    made.watch.stop()


async def test_each_rename_of_a_jobs_file_is_told(watched: Watched) -> None:
    """Nothing else in the folder is."""
    watched.queue.write(startup(4))
    (watched.queue.jobs / "job-5").write_text("written in place")
    (watched.queue.jobs / "serial.new").write_text("4")
    (watched.queue.jobs / "serial.new").rename(watched.queue.jobs / "serial")
    watched.queue.write(startup(4, "running"))
    await watched.until(lambda: len(watched.changed) >= 2)
    assert watched.changed == [4, 4]


async def test_the_first_look_comes_with_the_watch(watched: Watched) -> None:
    """So nothing between them is missed."""
    assert len(watched.looks) == 1


async def test_lost_events_are_made_up_for_by_a_look(watched: Watched) -> None:
    """Twisted itself passes over the kernel's word that events were lost."""
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    one, other = watched.queue.jobs / "job-1", watched.queue.jobs / "job-2"
    one.write_text("")
    # The reactor does not read while this goes on, so the kernel's list runs over. Two names in
    # turn, as the kernel folds the same event twice in a row into one.
    for _ in range(most // 2 + 10):
        one.rename(other)
        other.rename(one)
    await watched.until(lambda: len(watched.looks) == 2)
    assert "lost" in watched.looks[1]


async def test_the_kernels_word_is_understood_among_other_events(watched: Watched) -> None:
    """In the form in which it arrives: with the watch -1 and no name."""
    notifier = watched.watch._notifier
    assert notifier is not None
    notifier._doRead(struct.pack("=iIII", -1, inotify.IN_Q_OVERFLOW, 0, 0))
    assert len(watched.looks) == 2


async def test_a_folder_that_comes_back_is_watched_again(watched: Watched) -> None:
    """And looked through."""
    gone = watched.queue.folder / "gone"
    watched.queue.jobs.rename(gone)
    await watched.until(lambda: not watched.watch.watching)
    (watched.queue.jobs).mkdir()
    await watched.until(lambda: watched.watch.watching)
    assert len(watched.looks) == 2
    watched.queue.write(startup(7))
    await watched.until(lambda: 7 in watched.changed)


async def test_a_folder_that_was_deleted_is_looked_for(watched: Watched) -> None:
    """As a new installation of Ganeti does."""
    (watched.queue.jobs / "archive").rmdir()
    watched.queue.jobs.rmdir()
    await watched.until(lambda: not watched.watch.watching)
    watched.queue.jobs.mkdir()
    await watched.until(lambda: watched.watch.watching)
    watched.queue.write(startup(8))
    await watched.until(lambda: 8 in watched.changed)


async def test_a_folder_may_be_missing_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ganeti may be installed later."""
    monkeypatch.setattr(watch, "RETRY_SECONDS", 0.02)
    queue = Queue(tmp_path / "ganeti")
    (queue.jobs / "archive").rmdir()
    queue.jobs.rmdir()
    made = Watched(queue)
    made.watch.start()
    assert made.looks == []
    queue.jobs.mkdir()
    await made.until(lambda: made.watch.watching)
    assert len(made.looks) == 1
    made.watch.stop()


async def test_without_any_event_a_look_comes_with_time(tmp_path: Path) -> None:
    """Some file systems tell nothing."""
    made = Watched(Queue(tmp_path / "ganeti"), scan_seconds=0.02)
    made.watch.start()
    await made.until(lambda: len(made.looks) >= 3)
    made.watch.stop()
