"""Ganeti's job files, decoded; whatever is in one, it becomes a job or a :class:`BadJobFile`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import msgspec

#: The name of a job's file in the queue; temporary files begin with ``job-`` too.
JOB_FILE = re.compile(r"job-([0-9]{1,18})")
#: A larger file is not looked into.
MAX_BYTES = 33_554_432
#: How many jobs share a folder of the archive.
ARCHIVE_JOBS = 10_000

FINAL = frozenset(("success", "error", "canceled"))
STATUSES = FINAL | {"queued", "waiting", "running", "canceling"}

#: Seconds and microseconds of the master's clock.
Time = tuple[int, int]

_MAX_SECONDS = 1 << 40
_MICROSECONDS = 1_000_000


class BadJobFile(Exception):
    """It is not what Ganeti writes; the text says in what way and holds none of it."""


class ClosedJobFile(BadJobFile):
    """It may not be read: luxid's own files, before a job starts, are its user's alone."""


@dataclass(frozen=True)
class Op:
    """One opcode of a job.

    :ivar index: its place in the job, from 0.
    :ivar kind: the opcode's id, as ``OP_INSTANCE_STARTUP``.
    :ivar log_message: the last element of its last log entry.
    """

    index: int
    kind: str
    status: str
    input: dict[str, Any]
    result: Any
    log_message: Any
    log_length: int
    start: Time | None
    execute: Time | None
    end: Time | None


@dataclass(frozen=True)
class Job:
    """One job as its file has it."""

    id: int
    ops: tuple[Op, ...]
    received: Time | None
    start: Time | None
    end: Time | None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return all(op.status in FINAL for op in self.ops)


def job_id(name: str) -> int | None:
    """Return the job whose file has this name; None when it is no job's."""
    match = JOB_FILE.fullmatch(name)
    return int(match[1]) if match else None


def archived(number: int) -> str:
    """Return the name of a job's file once it is archived, from the queue's folder on."""
    return f"archive/{number // ARCHIVE_JOBS}/job-{number}"


def decode(number: int, raw: bytes) -> Job:
    """Return the job in a file's bytes.

    :param number: the job's id by the file's name.
    :raise BadJobFile: it is not a job, or another one.
    """
    return build(number, _parse(raw))


def build(number: int, content: Any) -> Job:
    """Return the job in a file's content.

    :raise BadJobFile: it is not a job, or another one.
    """
    document = _object(content, "the file")
    if str(document.get("id")) != str(number):
        raise BadJobFile("the id inside is another than in the file's name")
    ops = document.get("ops")
    if not isinstance(ops, list):
        raise BadJobFile("ops is not a list")
    return Job(
        id=number,
        ops=tuple(_op(index, _object(op, "an opcode")) for index, op in enumerate(ops)),
        received=_time(document.get("received_timestamp")),
        start=_time(document.get("start_timestamp")),
        end=_time(document.get("end_timestamp")),
    )


def _parse(raw: bytes) -> Any:
    try:
        # Text that is not UTF-8 does get into Ganeti's files, and must not hide the job.
        text = raw.decode("utf-8", "replace")
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            # Half of a surrogate pair, which Python's own json writes and reads.
            document = json.loads(text, parse_constant=_refuse)
            whole = json.dumps(document, ensure_ascii=False, allow_nan=False)
            return msgspec.json.decode(whole.encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise BadJobFile("it is not JSON") from None


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadJobFile(f"{what} is not an object")
    return value


def _op(index: int, op: dict[str, Any]) -> Op:
    given = _object(op.get("input"), "an opcode's input")
    kind, status = given.get("OP_ID"), op.get("status")
    if not isinstance(kind, str) or not isinstance(status, str):
        raise BadJobFile("an opcode has no id or no status")
    log = op.get("log")
    entries = log if isinstance(log, list) else []
    last = entries[-1] if entries else None
    return Op(
        index=index,
        kind=kind,
        status=status,
        input=given,
        result=op.get("result"),
        log_message=last[-1] if isinstance(last, list) and last else None,
        log_length=len(entries),
        start=_time(op.get("start_timestamp")),
        execute=_time(op.get("exec_timestamp")),
        end=_time(op.get("end_timestamp")),
    )


def _time(value: Any) -> Time | None:
    match value:
        case [int(seconds), int(microseconds)] if (
            0 <= seconds < _MAX_SECONDS and 0 <= microseconds < _MICROSECONDS
        ):
            return int(seconds), int(microseconds)
        case _:
            return None
