"""The real cloud-init, unpacked and never installed: it would configure the tests' own machine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.real.packages import LOCK_FILE

PYTHON = "/usr/bin/python3"
READER = Path(__file__).with_name("cloud_init_reader.py")
#: It, and what it imports. All of it is Python.
_PACKAGES = (
    "cloud-init",
    *(f"python3-{name}" for name in ("attr", "certifi", "chardet", "configobj", "idna", "jinja2")),
    *(f"python3-{name}" for name in ("json-pointer", "jsonpatch", "jsonschema", "markupsafe")),
    *(f"python3-{name}" for name in ("oauthlib", "pyrsistent", "requests", "six", "urllib3")),
    "python3-yaml",
)


def unpack(folder: Path) -> Path:
    """Unpack Debian's packages into a folder; return where Python finds them.

    Only tests marked ``real`` call this.

    :raise AssertionError: when they cannot be had.
    """
    alone = ["flock", "--timeout", "500", LOCK_FILE]
    if _run(["apt-get", "download", "-qq", *_PACKAGES], folder):
        _run([*alone, "apt-get", "update", "-qq"], folder)
        wrong = _run(["apt-get", "download", "-qq", *_PACKAGES], folder)
        assert not wrong, wrong
    for package in folder.glob("*.deb"):
        wrong = _run(["dpkg", "-x", package.name, "unpacked"], folder)
        assert not wrong, wrong
    return folder / "unpacked" / "usr" / "lib" / "python3" / "dist-packages"


def _run(command: list[str], folder: Path) -> str:
    """Run something; what it said when it failed, or nothing."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return "" if done.returncode == 0 else f"{' '.join(command)}: {done.stderr[-400:]}"
