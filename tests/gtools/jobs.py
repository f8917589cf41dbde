"""Job files as Ganeti writes them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

RECEIVED = 1_700_000_000
_TEMPORARY = 0


def op(kind: str, status: str = "queued", log: int = 0, /, **given: Any) -> dict[str, Any]:
    """One opcode; ``_result`` is its result, ``_log`` the text of its log."""
    result, text = given.pop("_result", None), given.pop("_log", "line")
    started = status != "queued"
    ended = status in ("success", "error", "canceled")
    return {
        "input": {"OP_ID": kind, **given},
        "status": status,
        "result": result,
        "log": [[n + 1, [RECEIVED + 2, n], "message", f"{text} {n + 1}"] for n in range(log)],
        "start_timestamp": [RECEIVED + 1, 10] if started else None,
        "exec_timestamp": [RECEIVED + 2, 20] if started and status != "waiting" else None,
        "end_timestamp": [RECEIVED + 3, 30] if ended else None,
        "priority": 0,
    }


def job(number: int, *ops: dict[str, Any], received: int = RECEIVED) -> dict[str, Any]:
    """A whole job."""
    ended = all(each["status"] in ("success", "error", "canceled") for each in ops)
    return {
        "id": number,
        "ops": list(ops),
        "received_timestamp": [received, 1],
        "start_timestamp": [received + 1, 2],
        "end_timestamp": [received + 4, 3] if ended else None,
        "livelock": None,
        "process_id": None,
    }


def startup(
    number: int, status: str = "queued", log: int = 0, name: str = "snf-1"
) -> dict[str, Any]:
    """A job that starts an instance."""
    return job(number, op("OP_INSTANCE_STARTUP", status, log, instance_name=name))


def shutdown(
    number: int, status: str = "queued", log: int = 0, name: str = "snf-1"
) -> dict[str, Any]:
    """A job that stops an instance."""
    return job(number, op("OP_INSTANCE_SHUTDOWN", status, log, instance_name=name))


class Queue:
    """A data folder of Ganeti with a job queue, whose files are renamed into place.

    :ivar folder: the data folder.
    """

    def __init__(self, folder: Path, master: str = "n1.test", cluster: str = "g1.test") -> None:
        self.folder = folder
        self.jobs = folder / "queue"
        (self.jobs / "archive").mkdir(parents=True)
        self.name_master(master)
        self._replace(folder / "ssconf_cluster_name", f"{cluster}\n".encode())

    def name_master(self, node: str) -> None:
        """Say who the master is."""
        self._replace(self.folder / "ssconf_master_node", f"{node}\n".encode())

    def write(self, document: dict[str, Any]) -> None:
        """Put a job's file in the place of its last one."""
        self.write_raw(document["id"], json.dumps(document).encode())

    def write_raw(self, number: int, raw: bytes) -> None:
        """Put any bytes there."""
        self._replace(self.jobs / f"job-{number}", raw)

    def archive(self, number: int) -> None:
        """Move a job to the archive."""
        place = self.jobs / "archive" / str(number // 10_000)
        place.mkdir(exist_ok=True)
        os.rename(self.jobs / f"job-{number}", place / f"job-{number}")

    def _replace(self, path: Path, raw: bytes) -> None:
        global _TEMPORARY  # noqa: PLW0603 - a name that nobody else has
        _TEMPORARY += 1
        new = path.with_name(f"{path.name}-{_TEMPORARY}.tmp")
        new.write_bytes(raw)
        os.rename(new, path)
