"""What a process costs, as Linux accounts it, and what one says."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int) -> float:
    """CPU time that the threads of a process have used so far, in user and system mode.

    To the nanosecond where the kernel keeps it so (``schedstat``), which a round of a second needs;
    else in its ticks, of which there are a hundred in a second (proc(5), ``stat``).
    """
    try:
        threads = list(Path(f"/proc/{pid}/task").glob("*/schedstat"))
        used = sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9
    except OSError:
        used = 0.0
    return used or cpu_seconds_of(Path(f"/proc/{pid}/stat").read_text())


def cpu_seconds_of(stat: str) -> float:
    """The same, out of the text of ``/proc/PID/stat``."""
    # The program's name may hold blanks and brackets; the state follows the last bracket.
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


def descriptors(pid: int) -> int:
    """How many files and sockets a process holds open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def memory_mib(pid: int) -> float:
    """Memory of a process that is in RAM now (its resident set), in MiB."""
    resident_pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return resident_pages * _PAGE_BYTES / 2**20


def line_from(popen: subprocess.Popen[str], seconds: float) -> str:
    """The next line of a process's standard output; the process is ended if none comes in time.

    :raise RuntimeError: when none comes, or the process has ended.
    """
    assert popen.stdout is not None
    late = threading.Timer(seconds, popen.kill)
    late.start()
    try:
        line = popen.stdout.readline()
    finally:
        late.cancel()
    if not line.endswith("\n"):
        ended = popen.wait(seconds)
        raise RuntimeError(f"no answer within {seconds:g} s: {popen.args!r} ended with {ended}")
    return line
