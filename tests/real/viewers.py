"""A real VNC viewer without a window: gvnccapture, of gtk-vnc."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import termios
import time
from contextlib import suppress
from pathlib import Path

from tests.real.packages import need
from tests.real.pictures import Picture, read_png

_FIRST_DISPLAY = 5900
_PATIENCE_SECONDS = 90


class NotLetIn(Exception):
    """The viewer was refused, in its own words."""


def capture(host: str, port: int, password: str, path: Path) -> Picture:
    """What a viewer sees that knows a password.

    :param path: where the picture is kept.
    :raise NotLetIn: when it sees nothing.
    """
    path.unlink(missing_ok=True)
    # It asks for the password at a terminal only.
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [need("gvnccapture", "gvncviewer"), f"{host}:{port - _FIRST_DISPLAY}", str(path)],
        stdin=its,
        stdout=its,
        stderr=its,
        env={"PATH": "/usr/bin:/bin", "HOME": str(path.parent), "LANG": "C.UTF-8"},
    )
    os.close(its)
    said, typed, end = "", False, time.monotonic() + _PATIENCE_SECONDS
    with suppress(OSError):
        while time.monotonic() < end:
            if select.select([ours], [], [], 0.1)[0]:
                said += os.read(ours, 4096).decode(errors="replace")
            # What is typed before it has turned the echo off is thrown away.
            silent = not termios.tcgetattr(ours)[3] & termios.ECHO
            if "Password:" in said and silent and not typed:
                typed = True
                os.write(ours, f"{password}\n".encode())
    process.kill()
    process.wait()
    os.close(ours)
    if not path.exists():
        raise NotLetIn(said)
    return read_png(path.read_bytes())
