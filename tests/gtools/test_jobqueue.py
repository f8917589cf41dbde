"""Looking into the queue's folder: only jobs, only files, and only so much."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cyclades_tx.gtools import jobqueue
from cyclades_tx.gtools.jobfile import BadJobFile, ClosedJobFile
from tests.gtools.jobs import Queue, shutdown


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    """An empty queue."""
    return Queue(tmp_path / "ganeti")


def test_a_job_is_read_wherever_it_is(queue: Queue) -> None:
    """From the queue, else from the archive, else nowhere."""
    for number in (1, 12_345):
        queue.write(shutdown(number))
    queue.archive(12_345)
    for number in (1, 12_345):
        found = jobqueue.read_job(str(queue.jobs), number)
        assert found is not None
        assert f'"id": {number}'.encode() in found[0]
    assert jobqueue.read_job(str(queue.jobs), 2) is None


def test_what_is_no_file_is_not_read(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder, a link, a pipe without a writer, something huge."""
    (queue.jobs / "job-1").mkdir()
    (queue.jobs / "job-2").symlink_to("/etc/hostname")
    os.mkfifo(queue.jobs / "job-3")
    monkeypatch.setattr(jobqueue, "MAX_BYTES", 10)
    queue.write(shutdown(4))
    for number in (1, 2, 3, 4):
        with pytest.raises(BadJobFile):
            jobqueue.read_job(str(queue.jobs), number)


def test_a_closed_file_is_told_apart(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, so the refusal is played."""

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ClosedJobFile):
        jobqueue.read_job(str(queue.jobs), 1)


def test_a_look_finds_jobs_with_what_tells_their_versions(queue: Queue) -> None:
    """And nothing else that lies there."""
    queue.write(shutdown(1))
    queue.write(shutdown(2))
    (queue.jobs / "serial").write_text("2")
    (queue.jobs / "job-2-55-1.tmp").write_text("")
    first = jobqueue.scan(str(queue.jobs))
    assert first.keys() == {1, 2}
    assert first[1] == jobqueue.stamp(str(queue.jobs), 1)
    queue.write(shutdown(2))
    second = jobqueue.scan(str(queue.jobs))
    assert second[1] == first[1] and second[2] != first[2]
    assert jobqueue.stamp(str(queue.jobs), 9) is None


def test_the_newest_part_of_the_archive_is_looked_at(queue: Queue) -> None:
    """By number, through its folders, and of that what was written lately."""
    for number in (9_998, 9_999, 10_000, 10_001):
        queue.write(shutdown(number))
        os.utime(queue.jobs / f"job-{number}", (number, number))
        queue.archive(number)
    (queue.jobs / "archive" / "lost+found").mkdir()
    (queue.jobs / "archive" / "7").write_text("a file")
    folder = str(queue.jobs)
    assert jobqueue.newest_archived(folder, 9_999, 100) == [9_999, 10_000, 10_001]
    assert jobqueue.newest_archived(folder, 0, 3) == [9_999, 10_000, 10_001]
    assert jobqueue.newest_archived(folder, 10_001, 3) == [10_001]
    assert jobqueue.newest_archived(folder + "/none", 0, 3) == []
