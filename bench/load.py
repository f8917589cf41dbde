"""Load on one URL from a process of its own: ``wrk`` where it is installed, else our own client."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

CONNECTIONS = 8
#: What a load may take beyond its time before it is given up, in seconds.
PATIENCE_SECONDS = 30.0

# wrk asks one URL with the headers of this script, which only we can read: a token has no place
# on a command line.
_SCRIPT = """
{headers}
function done(summary)
  local errors = summary.errors
  io.stderr:write(string.format(
    '{{"requests": %d, "seconds": %.6f, "failed": %d}}\\n', summary.requests,
    summary.duration / 1000000,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


class LoadError(Exception):
    """The load could not be made, or the server did not answer it well."""


@dataclass(frozen=True)
class Outcome:
    """What a load saw."""

    requests: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Requests answered in a second."""
        return self.requests / self.seconds


def tool() -> str:
    """What makes the load here: ``wrk`` or ``python``."""
    return "python" if shutil.which("wrk") is None else "wrk"


def run(url: str, headers: Mapping[str, str], seconds: float) -> Outcome:
    """Ask one URL over and over on eight connections that are kept open.

    It is asked once before: what the first answer alone takes (a statement that is prepared, pages
    that come from the disk) is not the load's.

    :raise LoadError: when a single answer was missing or no 200.
    """
    _ask_once(url, headers)
    said = _wrk(url, headers, seconds) if tool() == "wrk" else _python(url, headers, seconds)
    if said["failed"] or not said["requests"]:
        raise LoadError(f"{url}: {said['failed']} of {said['requests']} requests failed")
    return Outcome(said["requests"], said["seconds"])


def _ask_once(url: str, headers: Mapping[str, str]) -> None:
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=dict(headers)), timeout=PATIENCE_SECONDS
        ) as answer:
            answer.read()
    except OSError as error:
        raise LoadError(f"{url}: {error}") from error


def _wrk(url: str, headers: Mapping[str, str], seconds: float) -> dict[str, float]:
    lines = "\n".join(
        f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in headers.items()
    )
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_SCRIPT.format(headers=lines))
        script.flush()
        # wrk's time is a whole number of seconds.
        whole = max(1, round(seconds))
        done = subprocess.run(
            ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{whole}s", "-s", script.name, url],
            check=False,
            capture_output=True,
            text=True,
            timeout=whole + PATIENCE_SECONDS,
        )
    return _said(done)


def _python(url: str, headers: Mapping[str, str], seconds: float) -> dict[str, float]:
    order = {"url": url, "headers": dict(headers), "seconds": seconds, "connections": CONNECTIONS}
    done = subprocess.run(
        [sys.executable, "-m", "bench.client"],
        check=False,
        input=json.dumps(order),
        capture_output=True,
        text=True,
        timeout=seconds + PATIENCE_SECONDS,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    return _said(done)


def _said(done: subprocess.CompletedProcess[str]) -> dict[str, float]:
    lines = done.stderr.strip().splitlines()
    if done.returncode or not lines or not lines[-1].startswith("{"):
        raise LoadError(f"{done.args[0]} ended with {done.returncode}: {done.stderr.strip()}")
    said: dict[str, float] = json.loads(lines[-1])
    return said
