"""Real VNC viewers: gtk-vnc's gvnccapture, TigerVNC's on a display of its own, and an old one."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.real.packages import need
from tests.real.pictures import Picture, read_png, read_xwd
from tests.real.screens import sealed

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


class Display:
    """An X server without a screen.

    :param folder: its own; the picture is kept there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        told, tells = os.pipe()
        self._process = subprocess.Popen(
            [
                *(need("Xvfb", "xvfb"), "-displayfd", str(tells), "-fbdir", str(folder)),
                *("-screen", "0", "1024x800x24", "-nolisten", "tcp", "-noreset"),
            ],
            pass_fds=(tells,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(tells)
        with os.fdopen(told) as reading:
            # It takes the first number that is free.
            self.name = f":{reading.readline().strip()}"
        assert self.name != ":", "Xvfb did not start"

    def picture(self) -> Picture:
        """What is to be seen on it."""
        return read_xwd((self._folder / "Xvfb_screen0").read_bytes())

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(_PATIENCE_SECONDS)


@contextmanager
def tiger(
    display: Display, folder: Path, port: int, password: str, *parameters: str
) -> Iterator[subprocess.Popen[bytes]]:
    """TigerVNC's viewer on a display, as long as it is needed; it ends by itself when refused.

    :param folder: for its password and its log, ``viewer.log``.
    :param parameters: more of its own, as ``-SecurityTypes=X509Vnc``.
    """
    words = [
        *(need("xtigervncviewer", "tigervnc-viewer"), "-display", display.name),
        *("-Log=*:stderr:100", "-AlertOnFatalError=0", "-ReconnectOnError=0"),
        *("-geometry=1000x760+0+0", "-RemoteResize=0"),
        *(f"-PasswordFile={_password_file(folder, password)}", *parameters),
        f"localhost::{port}",
    ]
    with (folder / "viewer.log").open("wb") as log:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8"},
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def snapshot(port: int, password: str, folder: Path) -> bytes:
    """What an old viewer sees (vncsnapshot, RFB 3.3): a JPEG.

    :raise NotLetIn: when it sees nothing.
    """
    path = folder / "snapshot.jpg"
    path.unlink(missing_ok=True)
    done = subprocess.run(
        [
            *(need("vncsnapshot", "vncsnapshot"), "-quiet", "-passwd"),
            *(str(_password_file(folder, password)), f"localhost:{port - _FIRST_DISPLAY}"),
            str(path),
        ],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_SECONDS,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8"},
    )
    if done.returncode or not path.exists():
        raise NotLetIn(done.stderr + done.stdout)
    return path.read_bytes()


def _password_file(folder: Path, password: str) -> Path:
    path = folder / "viewer.password"
    path.touch(0o600)
    path.write_bytes(sealed(password.encode()))
    return path
