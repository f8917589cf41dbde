"""Debian packages that some tests need: installed only where that was asked for."""

from __future__ import annotations

import os
import shutil
import subprocess

#: ganeti-up.sh takes it, too.
LOCK_FILE = "/run/cyclades-tx-packages.lock"


def need(program: str, package: str) -> str:
    """The path of a program; its package is installed when it is missing.

    Only tests marked ``real`` call this, so it runs only with ``CI=true`` or ``REAL=1``.

    :raise AssertionError: when it is missing and cannot be installed.
    """
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if found is None:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        # Several workers may come at once, and the tools refuse the second.
        alone = ["flock", "--timeout", "500", LOCK_FILE]
        for command in (
            [*alone, "apt-get", "update", "-qq"],
            [*alone, "apt-get", "install", "-y", "-qq", "--no-install-recommends", package],
        ):
            done = subprocess.run(
                command,
                env=environment,
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                timeout=600,
            )
            assert done.returncode == 0, f"{' '.join(command)}: {done.stderr[-400:]}"
        found = shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")
    assert found is not None, f"{package} is installed, but there is no {program}"
    return found
