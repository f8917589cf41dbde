"""The log: one JSON object a line; the name and the fields of every event are declared here.

Write one with Twisted's own logger and a name from :data:`EVENTS`::

    log = Logger()
    log.info("operation.ended", operation_id=42, kind="create", end="done", seconds=3.1)
    log.failure("request.failed", Failure(), request_id=call.request_id)

A sentence in the place of the name is written as ``text``; it suits what is too rare to count.
:func:`about` adds fields to every line that is written inside it, however deep. Values that
must not be seen are taken out by their names, also inside dictionaries; nothing but plain
values is written, so no ``repr`` can carry a secret into a line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from time import gmtime, strftime
from typing import Any

import orjson
from twisted.application.service import MultiService
from twisted.logger import ILogObserver, LogLevel, formatEvent
from zope.interface import implementer

from cyclades_tx.errors import ConfigError
from cyclades_tx.sections import LogSection

#: Every event of ours by name, and the fields that its line may have.
EVENTS: dict[str, tuple[str, ...]] = {
    # The service.
    "service.listening": ("roles", "url"),
    "service.not_started": ("reason",),
    # A request, answered or failed on our side.
    "request.done": (
        "service", "method", "path", "status", "bytes", "seconds",
        "client", "user_id", "project_id", "microversion",
    ),
    "request.failed": ("service", "method", "path"),
    "request.refused": ("service", "client", "reason"),
    "reply.failed": ("service",),
    # Operations; ``end`` is how one ended.
    "operation.submitted": ("kind", "server_id", "network_id", "volume_id", "job_id"),
    "operation.adopted": ("kind", "server_id", "network_id", "job_id"),
    "operation.rearmed": ("kind",),
    "operation.ended": ("kind", "server_id", "network_id", "volume_id", "end", "reason", "seconds"),
    "operation.no_room": ("kind", "server_id", "job_id", "reason"),
    "server.observed": ("server_id", "state", "changes"),
    "server.not_followed": ("server_id", "kind", "subject", "reason"),
    "server.not_its_own": ("server_id", "instance"),
    "server.elsewhere": ("server_id", "where"),
    "server.firewall_given_up": ("server_id", "tries", "reason"),
    # Drift between our records and a cluster.
    "drift.found": ("kind", "subject", "server_id", "reason", "remedy"),
    "drift.mended": ("kind", "subject", "server_id", "reason"),
    "drift.not_mended": ("kind", "subject", "server_id", "reason"),
    "drift.removed": ("subject", "server_id", "job_id"),
    "drift.mass": ("missing", "servers"),
    "drift.not_seen": ("reason",),
    "books.recounted": ("area", "found", "mended", "seconds"),
    "retention.removed": ("kind", "number"),
    "drift.looked": ("servers", "instances", "findings", "seconds"),
    # Jobs at Ganeti.
    "job.not_canceled": ("job_id", "reason"),
    "jobs.not_seen": ("reason",),
    "jobs.watch_failed": (),
    # Clusters, and who drives them.
    "cluster.answers": (),
    "cluster.lost": ("reason", "retry_seconds"),
    "cluster.call": ("method", "path", "status", "seconds", "reason"),
    "cluster.unusable": ("reason",),
    "cluster.close_failed": (),
    "drive.died": (),
    "drive.change_failed": (),
    "lease.gained": ("cluster_id", "epoch"),
    "lease.ended": ("cluster_id", "epoch"),
    "lease.beat_failed": ("reason",),
    "lease.drop_failed": (),
    "lease.loop_died": (),
    # What messages tell.
    "facts.delayed": ("reason", "again_seconds"),
    "facts.put_aside": ("queue", "reason"),
    "facts.not_pruned": ("reason",),
    "facts.failed": (),
    "looks.not_seen": ("reason",),
    "looks.failed": (),
    # Events for users.
    "events.not_read": ("reason",),
    "events.stream_failed": (),
    "events.token_not_checked": ("reason",),
    # Consoles.
    "console.opened": ("session_id", "server_id", "user_id", "project_id", "client", "kind"),
    "console.refused": ("client", "reason"),
    "console.not_reached": ("session_id", "server_id", "reason", "said"),
    "console.ended": ("session_id", "server_id", "user_id", "reason", "bytes_in", "bytes_out"),
    "console.tickets_failed": (),
    "console.not_located": ("server_id", "reason"),
    "console.not_opened": ("reason",),
    "console.end_not_told": ("session_id",),
    "console.failed": ("client",),
    # The data of images.
    "image.not_imported": ("image", "reason"),
    "image.import_failed": ("image",),
    "image.object_missing": ("image",),
    "image.not_sent": (),
    "image.upload_given_up": ("image", "reason"),
    "image.data_removed": ("image",),
    "image.leftover_removed": ("name",),
    "image.store_refused": ("method", "status", "reason"),
    # The broker.
    "broker.connected": ("place",),
    "broker.lost": ("reason", "retry_seconds"),
    "broker.refused": ("queue", "reason"),
    "broker.blocked": ("reason",),
    "broker.unblocked": (),
    "broker.died": (),
    "broker.job_died": (),
    "broker.observer_failed": (),
    "consumer.lost": ("queue", "reason", "again_seconds"),
    "consumer.failed": ("queue",),
    # Loops.
    "loop.turn_failed": ("loop", "key", "again_seconds"),
    "loop.turn_delayed": ("loop", "key", "reason", "again_seconds"),
    "loop.goes_on": ("loop",),
    # The process itself.
    "reactor.late": ("seconds",),
    "health.failed": ("check", "reason"),
    "metrics.failed": ("source",),
    "metrics.delayed": ("source", "reason"),
}  # fmt: skip

#: Fields that any line may have, because :func:`about` put them there.
CONTEXT = ("request_id", "operation_id", "cluster")

#: A value under a name that contains one of these is never written.
SECRET = re.compile(
    r"pass(word|wd|phrase)|adminpass|\bpass\b|secret|token|personality|user_?data|credential"
    r"|authorization|private_?key|keyring|cookie|dsn",
    re.IGNORECASE,
)
HIDDEN = "***"
#: The same inside text: ``scheme://user:secret@host`` and ``password=secret``.
SECRET_IN_TEXT = re.compile(
    r"(?P<url>://[^/\s:@]*:)[^@\s/]+(?=@)"
    r"|(?P<key>(?:password|adminpass|secret|token|authorization)[\"']?\s*[=:]\s*)"
    r"(?:(?:basic|bearer)\s+)?[^\s,;})\]]+",
    re.IGNORECASE,
)
MAX_TEXT = 16_384
MAX_DEPTH = 6

_LEVELS = {level: rank for rank, level in enumerate(LogLevel.iterconstants())}
_LEVEL_NAMES = {level: level.name for level in _LEVELS}
_OPTIONS = (
    orjson.OPT_APPEND_NEWLINE | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_SUBCLASS
)
_about: ContextVar[Mapping[str, Any]] = ContextVar("about", default={})  # noqa: B039 (never changed)


@contextmanager
def about(**fields: Any) -> Iterator[None]:
    """Put these fields into every line that is written inside the ``with`` block.

    :param fields: of :data:`CONTEXT`; they follow a coroutine through its awaits.
    """
    mark = _about.set({**_about.get(), **fields})
    try:
        yield
    finally:
        _about.reset(mark)


def redact(value: Any, depth: int = 0) -> Any:
    """A copy of a value with plain members only, and none of them secret.

    :param depth: how deep inside another value this one stands; below six it is left out.
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return redact_text(value)
    if depth >= MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return {
            str(key): HIDDEN if _is_secret(str(key)) else redact(item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item, depth + 1) for item in value]
    if isinstance(value, bytes):
        return redact_text(value.decode("utf-8", "backslashreplace"))
    if isinstance(value, BaseException):
        return redact_text(f"{type(value).__name__}: {value}")
    return f"<{type(value).__name__}>"


def redact_text(text: str) -> str:
    """Text without passwords in URLs or after ``password=``, and of bounded length."""
    if len(text) > MAX_TEXT:
        text = text[: MAX_TEXT // 2] + " … " + text[-MAX_TEXT // 2 :]
    return SECRET_IN_TEXT.sub(lambda m: (m["url"] or m["key"]) + HIDDEN, text)


def _is_secret(name: str) -> bool:
    return SECRET.search(name) is not None


@implementer(ILogObserver)
class JsonLines:
    """Writes each event as one line of JSON.

    :param out: where the lines go.
    :param level: the lowest level that is written.
    """

    def __init__(self, out: LogFile, level: str = "info") -> None:
        self._write = out.write
        self._least = _LEVELS[LogLevel.lookupByName(level)]
        self._second = -1
        self._prefix = ""

    def __call__(self, event: dict[str, Any]) -> None:
        """Write one event; never raises."""
        level = event["log_level"]
        name = event.get("log_format")
        fields = EVENTS.get(name) if name is not None else None
        if _LEVELS[level] < self._least or (
            fields is None and level is LogLevel.info and self._is_noise(event)
        ):
            return
        seconds = event["log_time"]
        line: dict[str, Any] = {
            "time": self._time(seconds),
            "level": _LEVEL_NAMES[level],
            "event": name,
        }
        context = _about.get()
        if context:
            line.update(context)
        if fields is None:
            self._foreign(event, line)
        else:
            for field in CONTEXT:
                if field in event:
                    line[field] = event[field]
            for field in fields:
                if field in event:
                    line[field] = event[field]
            if "reason" in line:
                # The one free text, often an exception's.
                line["reason"] = redact(line["reason"])
        failure = event.get("log_failure")
        if failure is not None:
            line["error"] = redact(failure.value)
            line["traceback"] = redact_text(failure.getTraceback())
        try:
            data = orjson.dumps(line, option=_OPTIONS)
        except (TypeError, RecursionError):
            # A value that is not plain, or text that is not Unicode.
            data = orjson.dumps(_unicode(redact(line)), option=_OPTIONS)
        self._write(data, seconds)

    def _is_noise(self, event: dict[str, Any]) -> bool:
        """Whether it is Twisted talking of its own factories and ports: that is for debugging."""
        return self._least > _LEVELS[LogLevel.debug] and str(
            event.get("log_namespace", "")
        ).startswith("twisted.")

    def _time(self, seconds: float) -> str:
        """ISO 8601 in UTC with milliseconds."""
        whole = int(seconds)
        if whole != self._second:
            self._second = whole
            self._prefix = strftime("%Y-%m-%dT%H:%M:%S.", gmtime(whole))
        return f"{self._prefix}{int((seconds - whole) * 1000):03d}Z"

    @staticmethod
    def _foreign(event: dict[str, Any], line: dict[str, Any]) -> None:
        """Add what an event that is not declared says: its text, and its plain fields."""
        ours = {
            key: HIDDEN
            if _is_secret(key)
            else redact(value)
            if isinstance(value, Mapping | list | tuple)
            else value
            for key, value in event.items()
            if not key.startswith("log_")
        }
        known = {key: value for key, value in event.items() if key.startswith("log_")}
        known.pop("log_failure", None)
        line["event"] = event.get("log_namespace") or "text"
        line["text"] = redact_text(formatEvent({**known, **ours}))
        for key, value in ours.items():
            # The rest are Twisted's own objects; what matters of them is in the text.
            if key in line or key in _LEGACY:
                continue
            if isinstance(value, bool | int | float | str):
                line[key] = redact(value)


#: Keys that Twisted's old logging adds to each event.
_LEGACY = frozenset({"format", "message", "time", "system", "isError", "why", "failure"})


def _unicode(value: Any) -> Any:
    """The same plain value in valid Unicode, with numbers that JSON can hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, int) and value.bit_length() > 63:
        return str(value)
    if isinstance(value, dict):
        return {_unicode(key): _unicode(item) for key, item in value.items()}
    return [_unicode(item) for item in value] if isinstance(value, list) else value


class LogFile:
    """A file, or standard output, that lines are added to.

    A file that was moved away or removed (logrotate) is opened anew within a second; no signal
    is needed. A full disk loses lines, never a request: ``lost_lines`` counts them.

    :param path: the file; empty: standard output.
    """

    def __init__(self, path: str = "") -> None:
        self._path = path
        self._looked_at = -1
        self._descriptor = self._open() if path else 1
        self.lost_lines = 0
        self._cut = False

    def write(self, line: bytes, seconds: float) -> None:
        """Add one line.

        :param seconds: the event's own time; the file's name is looked at once in a second.
        """
        if self._descriptor < 0:
            # Closed, and the number may be somebody else's file or socket by now.
            self.lost_lines += 1
            return
        if self._path and int(seconds) != self._looked_at:
            self._looked_at = int(seconds)
            self._reopen_if_moved()
        if self._cut:
            line = b"\n" + line
        written = 0
        try:
            written = os.write(self._descriptor, line)
            if written < len(line):
                written += os.write(self._descriptor, line[written:])
            self._cut = False
        except OSError:
            self.lost_lines += 1
            # What follows must not hang on to the first part of this one.
            self._cut = self._cut or written > 0

    def close(self) -> None:
        """Close the file, once; standard output stays open."""
        if self._path and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return os.open(self._path, flags, 0o640)

    def _reopen_if_moved(self) -> None:
        with suppress(OSError):
            ours = os.fstat(self._descriptor)
            try:
                named = os.stat(self._path)
                moved = (named.st_dev, named.st_ino) != (ours.st_dev, ours.st_ino)
            except FileNotFoundError:
                moved = True
            if moved:
                fresh = self._open()
                os.close(self._descriptor)
                self._descriptor = fresh


class LoggedService(MultiService):
    """A service that, as the top of a ``twistd`` application, makes it log our way.

    ``twistd`` asks the application which observer to use just before it starts to log.
    """

    def __init__(self, observer: JsonLines) -> None:
        super().__init__()
        self._observer = observer

    def setServiceParent(self, parent: Any) -> None:
        """Join the application, and give it our observer."""
        set_component = getattr(parent, "setComponent", None)
        if set_component is not None:
            set_component(ILogObserver, self._observer)
        super().setServiceParent(parent)


def observer(section: LogSection) -> JsonLines:
    """The observer that the configuration asks for.

    :raise ConfigError: when the file cannot be opened.
    """
    try:
        return JsonLines(LogFile(section.file), section.level)
    except OSError as error:
        raise ConfigError(f"log.file: {section.file}: {error.strerror}") from None
