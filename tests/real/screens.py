"""Real screens on the loopback: QEMU's, and the X server of TigerVNC."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from tests.real.packages import need
from tests.real.ports import free_port

START_SECONDS = 90.0
STOP_SECONDS = 30.0
_FIRST_DISPLAY = 5900
#: What VNC's password files are sealed with; every implementation knows it.
_FILE_KEY = bytes((0xE8, 0x4A, 0xD6, 0x60, 0xC4, 0x72, 0x1A, 0xE0))


class RealScreen:
    """One process with a screen.

    :param kind: ``qemu`` or ``xvnc``.
    :param password: for VNC authentication; empty: it wants none.
    :ivar port: where it listens, on the loopback.
    """

    def __init__(self, kind: str, password: str = "") -> None:
        self.port = free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="cyclades-tx-screen-")
        self._log = Path(self._folder.name) / "log"
        command = {"qemu": self._qemu, "xvnc": self._xvnc}[kind](password)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_SECONDS)
        self._folder.cleanup()

    def _wait(self) -> None:
        end = time.monotonic() + START_SECONDS
        while True:
            assert self._process.poll() is None, self._log.read_text()
            try:
                socket.create_connection(("127.0.0.1", self.port), 5.0).close()
                return
            except OSError:
                assert time.monotonic() < end, self._log.read_text()
                time.sleep(0.05)

    def _qemu(self, password: str) -> list[str]:
        program = need("qemu-system-x86_64", "qemu-system-x86")
        display = f"127.0.0.1:{self.port - _FIRST_DISPLAY}"
        secret = []
        if password:
            file = self._secret_file(password.encode())
            secret = ["-object", f"secret,id=vnc0,file={file}"]
            display += ",password-secret=vnc0"
        # Stopped before its first instruction: the screen is there, and nothing is emulated.
        return [
            *(program, "-S", "-nodefaults", "-machine", "pc,accel=tcg", "-m", "32"),
            *("-vga", "std", "-monitor", "none", "-serial", "none", *secret, "-vnc", display),
        ]

    def _xvnc(self, password: str) -> list[str]:
        program = need("Xtigervnc", "tigervnc-standalone-server")
        security = ["-SecurityTypes", "None"]
        if password:
            file = self._secret_file(sealed(password.encode()))
            security = ["-SecurityTypes", "VncAuth", "-rfbauth", str(file)]
        return [
            *(program, f":{self.port}", "-rfbport", str(self.port), "-localhost=1"),
            *("-geometry", "64x48", "-depth", "24", "-nolisten", "local", "-ac", *security),
        ]

    def _secret_file(self, text: bytes) -> Path:
        file = Path(self._folder.name) / "secret"
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
        with open(descriptor, "wb") as writing:
            writing.write(text)
        return file


def sealed(password: bytes) -> bytes:
    """What stands in a password file of VNC."""
    encryptor = Cipher(TripleDES(_FILE_KEY * 3), modes.ECB()).encryptor()
    return encryptor.update(password[:8].ljust(8, b"\0")) + encryptor.finalize()
