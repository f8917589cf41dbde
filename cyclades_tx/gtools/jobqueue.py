"""Looking into the job queue's folder: one job's file, or the names of all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cyclades_tx.gtools.jobfile import MAX_BYTES, BadJobFile, ClosedJobFile, archived, job_id

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW

#: What tells one version of a file from the next.
Stamp = tuple[int, int, int]


def read_job(folder: str, number: int) -> tuple[bytes, Stamp] | None:
    """Return a job's file, from the queue or else the archive; None when it is in neither.

    :raise ClosedJobFile: we have no right to.
    :raise BadJobFile: it cannot be read.
    """
    for name in (f"job-{number}", archived(number)):
        try:
            descriptor = os.open(os.path.join(folder, name), _FLAGS)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError:
            raise ClosedJobFile("it may not be read") from None
        except OSError as error:
            raise BadJobFile(f"it cannot be opened: {error.strerror}") from None
        try:
            state = os.fstat(descriptor)
            if not stat.S_ISREG(state.st_mode) or state.st_size > MAX_BYTES:
                raise BadJobFile("it is not a file, or too large")
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(MAX_BYTES), _stamp(state)
        finally:
            os.close(descriptor)
    return None


def stamp(folder: str, number: int) -> Stamp | None:
    """Return what tells this version of a job's file; None when it is not in the queue."""
    try:
        return _stamp(os.stat(os.path.join(folder, f"job-{number}"), follow_symlinks=False))
    except OSError:
        return None


def scan(folder: str) -> dict[int, Stamp]:
    """Return every job in the queue with its file's stamp; the archive is not looked into.

    :raise OSError: the folder is not there.
    """
    found = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            number = job_id(entry.name)
            if number is not None:
                try:
                    state = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                found[number] = _stamp(state)
    return found


def _stamp(state: os.stat_result) -> Stamp:
    return state.st_mtime_ns, state.st_ino, state.st_size


def newest_archived(folder: str, since: float, most: int) -> list[int]:
    """Return archived jobs whose files were last written since then, the newest by id.

    :param since: seconds since the epoch.
    :param most: at most so many are looked at.
    """
    found: list[int] = []
    looked = 0
    for place in sorted(_numbered(Path(folder, "archive")), reverse=True):
        part = Path(folder, "archive", str(place))
        try:
            numbers = sorted(filter(None, map(job_id, os.listdir(part))), reverse=True)
        except OSError:
            continue
        for number in numbers[: most - looked]:
            looked += 1
            try:
                if os.stat(part / f"job-{number}").st_mtime >= since:
                    found.append(number)
            except OSError:
                continue
        if looked >= most:
            break
    return sorted(found)


def _numbered(folder: Path) -> list[int]:
    try:
        return [int(name) for name in os.listdir(folder) if name.isdecimal()]
    except OSError:
        return []
