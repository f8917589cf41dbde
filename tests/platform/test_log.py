"""The log: what a line holds, and what it never holds."""

from __future__ import annotations

import ast
import errno
import json
import os
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.application.service import Application
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, Logger
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from cyclades_tx import log as log_module
from cyclades_tx.errors import ConfigError
from cyclades_tx.log import (
    EVENTS,
    JsonLines,
    LogFile,
    LoggedService,
    about,
    observer,
    redact,
    redact_text,
)
from cyclades_tx.sections import LogSection

PACKAGE = Path(log_module.__file__).parent


class MemoryFile:
    """Keeps the lines that a :class:`LogFile` would write."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def write(self, line: bytes, seconds: float) -> None:
        """Keep one line, which must be one line of JSON."""
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        self.lines.append(json.loads(line))


@pytest.fixture
def file() -> MemoryFile:
    """Where the lines of a test go."""
    return MemoryFile()


@pytest.fixture
def log(file: MemoryFile) -> Logger:
    """A logger whose lines go to ``file``."""
    return Logger(namespace="test", observer=JsonLines(file, "info"))


def failure_of(error: Exception) -> Failure:
    """A failure with a traceback."""
    try:
        raise error
    except type(error):
        return Failure()


def test_a_line_has_time_level_event_and_its_fields(log: Logger, file: MemoryFile) -> None:
    """The fields of a declared event, and no others."""
    log.info("operation.ended", operation_id=4, kind="create", seconds=1.5, stray=object())
    (line,) = file.lines
    assert datetime.fromisoformat(line.pop("time")).utcoffset().total_seconds() == 0
    assert line == {
        "level": "info",
        "event": "operation.ended",
        "operation_id": 4,
        "kind": "create",
        "seconds": 1.5,
    }


def test_the_time_has_milliseconds(file: MemoryFile) -> None:
    """Also when two lines share a second."""
    write = JsonLines(file)
    for seconds in (1.0015, 1.9999, 61.0):
        Logger(observer=lambda event, at=seconds: write({**event, "log_time": at})).info(
            "reactor.late"
        )
    assert [line["time"][14:] for line in file.lines] == ["00:01.001Z", "00:01.999Z", "01:01.000Z"]


def test_a_line_below_the_level_is_not_written(log: Logger, file: MemoryFile) -> None:
    """The level comes from the configuration."""
    log.debug("reactor.late")
    assert file.lines == []


def test_fields_from_around_are_on_every_line(log: Logger, file: MemoryFile) -> None:
    """Whoever knows the request says so once."""
    with about(request_id="req-1"), about(cluster="g1"):
        log.info("cluster.answers")
    log.info("cluster.answers")
    assert (file.lines[0]["request_id"], file.lines[0]["cluster"]) == ("req-1", "g1")
    assert "request_id" not in file.lines[1]


async def test_fields_from_around_stay_with_their_coroutine(log: Logger, file: MemoryFile) -> None:
    """Two coroutines that wait at the same time do not mix their ids."""
    gates: list[Deferred[None]] = [Deferred(), Deferred()]

    async def work(number: int) -> None:
        with about(operation_id=number):
            await gates[number]
            log.info("operation.ended", kind="create")

    running = [Deferred.fromCoroutine(work(number)) for number in (0, 1)]
    gates[1].callback(None)
    gates[0].callback(None)
    for one in running:
        await one
    assert [line["operation_id"] for line in file.lines] == [1, 0]


def test_a_failure_brings_its_traceback(log: Logger, file: MemoryFile) -> None:
    """For the developer; the user sees only the request's id."""
    log.failure("request.failed", failure_of(ValueError("odd")), request_id="req-2")
    (line,) = file.lines
    assert line["error"] == "ValueError: odd"
    assert "in failure_of" in line["traceback"]
    assert line["level"] == "critical"


SECRETS = [
    "password",
    "admin_password",
    "adminPass",
    "secret",
    "token",
    "x-auth-token",
    "personality",
    "user_data",
    "userData",
    "Authorization",
    "private_key",
    "dsn",
]


@pytest.mark.parametrize("name", SECRETS)
def test_a_value_under_a_secret_name_is_not_written(
    log: Logger, file: MemoryFile, name: str
) -> None:
    """As a field, inside a dictionary, and in the text."""
    log.info("Got {" + name + "} and {inside}", **{name: "hush", "inside": [{name: "hush"}]})
    assert "hush" not in json.dumps(file.lines)
    assert file.lines[0][name] == "***"


@pytest.mark.parametrize("name", SECRETS)
def test_no_declared_field_has_a_secret_name(name: str) -> None:
    """A declared field is written without looking."""
    assert all(name not in fields for fields in EVENTS.values())


@pytest.mark.parametrize(
    "text",
    [
        "cannot reach postgresql://user:hush@db/x",
        "amqp://user:hush@broker:5672/%2f",
        "option password=hush is odd",
        "{'password': 'hush'}",
        '{"adminPass": "hush"}',
        "X-Auth-Token: hush",
        "Authorization: Basic hush",
        "authorization: bearer hush",
    ],
)
def test_a_secret_in_the_text_of_an_error_is_taken_out(
    log: Logger, file: MemoryFile, text: str
) -> None:
    """Libraries like to quote what they were given."""
    log.failure("request.failed", failure_of(ValueError(text)))
    log.warn("cluster.lost", reason=text)
    assert "hush" not in json.dumps([{**line, "traceback": ""} for line in file.lines])


def test_a_secret_is_taken_out_of_the_traceback_too(log: Logger, file: MemoryFile) -> None:
    """Its last line is the error's text."""
    text = "".join(["cannot reach postgresql://user:", "hush", "@db/x"])
    log.failure("request.failed", failure_of(ValueError(text)))
    assert "hush" not in file.lines[0]["traceback"]


def test_ordinary_text_is_left_alone() -> None:
    """Words that only look like it stay readable."""
    text = "http://127.0.0.1:8774/identity: the token is wrong; see https://cloud.test/x@y"
    assert redact_text(text) == text


def test_an_endless_text_is_cut() -> None:
    """A reply of a megabyte in an error is not a log line."""
    assert len(redact_text("x" * 1_000_000)) < 20_000


def test_an_object_is_written_as_its_type_only(log: Logger, file: MemoryFile) -> None:
    """A ``repr`` may hold anything."""
    log.info("operation.ended", reason=type("Odd", (), {"__repr__": lambda self: "hush"})())
    assert file.lines[0]["reason"] == "<Odd>"


def test_an_event_of_twisted_keeps_its_text(log: Logger, file: MemoryFile) -> None:
    """With who said it in the place of the event's name."""
    log.info("{factory} starting on {port}", factory=object, port=80)
    assert file.lines[0]["event"] == "test"
    assert file.lines[0]["text"] == "<class 'object'> starting on 80"
    assert file.lines[0]["port"] == 80


def test_a_field_cannot_take_the_place_of_ours(log: Logger, file: MemoryFile) -> None:
    """A foreign event with a field ``event`` is still told to be foreign."""
    log.info("{text} {event}", text="odd", event="lease.gained")
    assert (file.lines[0]["text"], file.lines[0]["event"]) == ("odd lease.gained", "test")


def test_a_format_that_does_not_fit_is_still_a_line(log: Logger, file: MemoryFile) -> None:
    """Logging never fails."""
    log.info("{nothing} here")
    assert "nothing" in file.lines[0]["text"]


def test_a_nested_value_without_end_is_cut(log: Logger, file: MemoryFile) -> None:
    """A list that holds itself."""
    endless: list[Any] = []
    endless.append(endless)
    log.info("operation.ended", end=endless)
    assert "…" in json.dumps(file.lines[0]["end"], ensure_ascii=False)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=10,
)


@given(plain, st.text(alphabet=st.characters()))
def test_any_value_becomes_one_line(value: Any, text: str) -> None:
    """New lines, lone surrogates, huge numbers, bytes: one line of JSON each."""
    file = MemoryFile()
    log = Logger(observer=JsonLines(file))
    log.info("operation.ended", reason=value, end=text)
    log.info("{value}", value=value, other=text)
    log.warn(text, value=value)
    assert len(file.lines) == 3


@given(st.dictionaries(st.sampled_from([*SECRETS, "name", "list"]), plain))
def test_redact_hides_every_secret_member(value: dict[str, Any]) -> None:
    """And keeps the names, so that one sees what was there."""
    shown = redact(value)
    assert shown.keys() == value.keys()
    assert all(shown[name] == "***" for name in SECRETS if name in value)


def calls_of_log() -> list[tuple[str, str, set[str]]]:
    """Every ``log.LEVEL("event", …)`` in the package: place, event, fields."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr not in {"debug", "info", "warn", "error", "critical", "failure"}:
                continue
            if not re.search(r"\blog$", ast.unparse(node.func.value)) or not node.args:
                continue
            name = ast.literal_eval(node.args[0])
            fields = {keyword.arg or "**" for keyword in node.keywords}
            found.append((f"{path.relative_to(PACKAGE)}:{node.lineno}", name, fields))
    return found


def test_every_event_that_is_logged_is_declared_with_its_fields() -> None:
    """The list in ``log.py`` is complete; a name has a dot and no space, a sentence has one."""
    known = {name: {*fields, *log_module.CONTEXT, "failure"} for name, fields in EVENTS.items()}
    wrong = [
        f"{place}: {name}: {sorted(fields - known.get(name, set()))}"
        for place, name, fields in calls_of_log()
        if " " not in name and not (name in known and fields <= known[name])
    ]
    assert wrong == []


def test_every_event_that_is_declared_is_logged() -> None:
    """Or the list would tell of lines that never come."""
    sources = [path.read_text() for path in PACKAGE.rglob("*.py") if path.name != "log.py"]
    assert [name for name in EVENTS if not any(f'"{name}"' in text for text in sources)] == []


def test_a_file_gets_the_lines(tmp_path: Path) -> None:
    """And only its owner and group may read it."""
    path = tmp_path / "service.log"
    log = Logger(observer=observer(LogSection(file=str(path))))
    log.info("reactor.late", seconds=1)
    assert json.loads(path.read_text())["event"] == "reactor.late"
    assert path.stat().st_mode & 0o027 == 0


def test_lines_are_added_to_a_file_that_exists(tmp_path: Path) -> None:
    """A restart does not empty the log."""
    path = tmp_path / "service.log"
    path.write_text("old\n")
    file = LogFile(str(path))
    file.write(b"new\n", 1.0)
    file.close()
    assert path.read_text() == "old\nnew\n"


@pytest.mark.parametrize("remove", [True, False])
def test_a_file_that_was_moved_away_is_opened_anew(tmp_path: Path, remove: bool) -> None:
    """Within a second, without any signal."""
    path = tmp_path / "service.log"
    file = LogFile(str(path))
    file.write(b"one\n", 1.0)
    if remove:
        path.unlink()
    else:
        path.rename(tmp_path / "service.log.1")
        path.write_text("")
    file.write(b"two\n", 2.0)
    file.close()
    assert path.read_text() == "two\n"


def test_a_folder_that_is_gone_does_not_stop_the_service(tmp_path: Path) -> None:
    """The lines go to the file that is still open."""
    folder = tmp_path / "logs"
    folder.mkdir()
    file = LogFile(str(folder / "service.log"))
    (folder / "service.log").unlink()
    folder.rmdir()
    file.write(b"one\n", 1.0)
    file.close()
    assert file.lost_lines == 0


def test_a_full_disk_loses_lines_and_nothing_else() -> None:
    """The number of lost lines is kept."""
    file = LogFile("/dev/full")
    file.write(b"one\n", 1.0)
    file.close()
    assert file.lost_lines == 1


def test_a_line_that_was_cut_off_spoils_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk was full in the middle of it."""
    path = tmp_path / "service.log"
    file = LogFile(str(path))
    room, write = [7], os.write

    def narrow(descriptor: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = write(descriptor, data[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr(os, "write", narrow)
    for line in (b"one\n", b"two, which is too long\n", b"three\n"):
        file.write(line, 1.0)
    room[0] = 100
    for line in (b"four\n", b"five\n"):
        file.write(line, 1.0)
    file.close()
    assert path.read_text() == "one\ntwo\nfour\nfive\n"
    assert file.lost_lines == 2


def test_a_file_that_cannot_be_opened_is_a_configuration_error(tmp_path: Path) -> None:
    """The operator is told which."""
    with pytest.raises(ConfigError, match=r"log\.file: .*none/service\.log: No such file"):
        observer(LogSection(file=str(tmp_path / "none" / "service.log")))


def test_standard_output_gets_the_lines_without_a_file(capfd: pytest.CaptureFixture[str]) -> None:
    """Under systemd that is the journal."""
    Logger(observer=observer(LogSection())).info("reactor.late")
    assert json.loads(capfd.readouterr().out)["event"] == "reactor.late"


def test_standard_output_is_not_closed() -> None:
    """It is not ours."""
    LogFile().close()
    os.fstat(1)


def test_the_top_service_makes_its_application_log_our_way(file: MemoryFile) -> None:
    """``twistd`` looks for this component before it starts to log."""
    lines = JsonLines(file)
    verifyObject(ILogObserver, lines)
    application = Application("cyclades_tx")
    service = LoggedService(lines)
    service.setServiceParent(application)
    assert application.getComponent(ILogObserver) is lines
    assert service.parent is not None


def test_a_closed_file_touches_nothing_any_more(tmp_path: Path) -> None:
    """Its number may belong to another file or a socket by then."""
    file = LogFile(str(tmp_path / "service.log"))
    file.close()
    other = (tmp_path / "other").open("wb", buffering=0)
    file.write(b"one\n", 1.0)
    file.close()
    other.write(b"two\n")
    assert (tmp_path / "other").read_bytes() == b"two\n"
    assert file.lost_lines == 1
    other.close()
