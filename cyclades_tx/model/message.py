"""Messages of the Ganeti side: bytes to facts.

The shapes are those of the event daemon and the progress monitor, old and new; members that do
not matter here (what an instance looks like, the input of a job) are skipped unread. What comes
from a broker is a stranger's: :meth:`MessageReader.read` raises nothing, whatever the bytes are.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from cyclades_tx.model.diagnostic import Diagnostic, Level
from cyclades_tx.model.fact import RANKS, Fact, Ignored, JobFact, ProgressFact, Unreadable
from cyclades_tx.model.job import JobStatus
from cyclades_tx.model.names import Names

#: Larger ones are not looked into.
MOST_BYTES = 1_048_576
LONGEST_TEXT = 4_000
LONGEST_SOURCE = 100
MOST_LINES = 200

Name = Annotated[str, Meta(min_length=1, max_length=255)]
ClusterName = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+\Z")]
OpCode = Annotated[str, Meta(max_length=100, pattern=r"^OP_[A-Z0-9_]+\Z")]
Number = Annotated[int, Meta(ge=1, le=2**53)]
#: Up to the year 2242.
Seconds = Annotated[int, Meta(ge=0, le=2**33)]
Microseconds = Annotated[int, Meta(ge=0, le=999_999)]
Place = Annotated[int, Meta(ge=0, le=32_000)]
Moment = tuple[Seconds, Microseconds]
#: The status words are checked apart, so that the reason can name a wrong one.
Status = Annotated[str, Meta(max_length=20)]

_STATUS: dict[str, JobStatus] = {str(status): status for status in RANKS}
_LEVELS: dict[str, Level] = {"warning": "WARNING", "error": "ERROR", "info": "INFO"}
_TASKS = ("task-start", "task-end")


class _Job(Struct, kw_only=True, tag_field="type"):
    """What every message about a job has."""

    operation: OpCode
    status: Status
    job_id: Number = msgspec.field(name="jobId")
    cluster: ClusterName
    event_time: Moment
    op_index: Place | None = None
    job_ops: Place | None = None


class _Instance(_Job, tag="ganeti-op-status"):
    instance: Name


class _Network(_Job, tag="ganeti-network-status"):
    network: Name


class _Cluster(_Job, tag="ganeti-cluster-status"):
    pass


class _Heartbeat(Struct, kw_only=True, tag_field="type", tag="eventd-heartbeat"):
    """An answer to a status check that somebody else has asked for."""


class _Nics(Struct, kw_only=True, tag_field="type", tag="ganeti-net-status"):
    """What the hook of old times sent; the same is found out by looking."""


class _Copy(Struct, kw_only=True, tag_field="type", tag="image-copy-progress"):
    instance: Name
    event_time: Moment
    progress: Annotated[float, Meta(ge=0)]


class _Said(Struct, kw_only=True, tag_field="type"):
    """What the installation of an image says; older helpers write ``msg`` for ``messages``."""

    instance: Name
    event_time: Moment
    messages: list[str] | str | UnsetType = UNSET
    msg: list[str] | str | UnsetType = UNSET
    stderr: str | None = None


class _Info(_Said, tag="image-info"):
    pass


class _Error(_Said, tag="image-error"):
    pass


class _Warning(_Said, tag="image-warning"):
    pass


class _Helper(_Said, tag="image-helper"):
    subtype: Annotated[str, Meta(max_length=LONGEST_SOURCE)]
    task: str | None = None


_SAID: dict[type[_Said], tuple[str, Level]] = {
    _Info: ("image-info", "DEBUG"),
    _Error: ("image-error", "ERROR"),
    _Warning: ("image-warning", "WARNING"),
}

_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(
    _Instance
    | _Network
    | _Cluster
    | _Heartbeat
    | _Nics
    | _Copy
    | _Info
    | _Error
    | _Warning
    | _Helper
)


class MessageReader:
    """Reads the messages about the things whose names have our prefix."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def read(self, body: bytes) -> Fact | Ignored | Unreadable:
        """What a message says.

        :return: ``Ignored`` for what is not ours, ``Unreadable`` for what is no message.
        """
        if len(body) > MOST_BYTES:
            return Unreadable(f"{len(body)} bytes are too many for a message")
        try:
            message = _decoder.decode(body)
        except msgspec.DecodeError as error:
            return Unreadable(str(error)[: LONGEST_SOURCE * 2])
        except RecursionError:
            return Unreadable("it is nested too deeply")
        if isinstance(message, _Job):
            return self._job(message)
        if isinstance(message, _Copy | _Said):
            server_id = self._names.server_id(message.instance)
            if server_id is None:
                return Ignored("not one of our instances")
            if isinstance(message, _Copy):
                percent = int(min(message.progress, 100.0))
                return ProgressFact(server_id, percent, _moment(message.event_time))
            return _diagnostic(server_id, message)
        return Ignored("needs no consumer")

    def _job(self, message: _Job) -> JobFact | Ignored | Unreadable:
        status = _STATUS.get(message.status)
        if status is None:
            return Unreadable(f"no status of a job is called {message.status!r}")
        if isinstance(message, _Instance):
            number = self._names.server_id(message.instance)
            subject = f"o{number}"
        elif isinstance(message, _Network):
            number = self._names.network_id(message.network)
            subject = f"n{number}"
        else:
            number, subject = 0, "refresh"
        if number is None:
            return Ignored("not one of ours")
        return JobFact(
            cluster=message.cluster,
            job_id=message.job_id,
            opcode=message.operation,
            subject=subject,
            subject_id=number,
            status=status,
            op_index=-1 if message.op_index is None else message.op_index,
            job_ops=message.job_ops or 0,
            event_seconds=_moment(message.event_time),
        )


def _moment(pair: Moment) -> float:
    return pair[0] + pair[1] / 1_000_000


def _diagnostic(server_id: int, message: _Said) -> Diagnostic:
    level: Level
    text = _lines(message)
    if isinstance(message, _Helper):
        source, level = "image-helper", _LEVELS.get(message.subtype, "DEBUG")
        if message.subtype in _TASKS:
            source = f"image-helper-{message.subtype}"
            text = message.task or ""
    else:
        source, level = _SAID[type(message)]
    text = _clean(text).strip()
    return Diagnostic(
        server_id=server_id,
        level=level,
        source=source,
        message=text or source.replace("-", " ").capitalize(),
        details=None if message.stderr is None else _clean(message.stderr),
        source_at=datetime.fromtimestamp(_moment(message.event_time), UTC),
    )


def _lines(message: _Said) -> str:
    said = message.msg if message.messages is UNSET else message.messages
    if said is UNSET:
        return ""
    return said if isinstance(said, str) else " ".join(said[:MOST_LINES])


def _clean(text: str) -> str:
    """Text that PostgreSQL can keep, of a bounded length."""
    return text.replace("\x00", "")[:LONGEST_TEXT]
