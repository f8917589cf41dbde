"""The image progress monitor: every word passed on, few percentages, and no image ever fails."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclades_tx.gtools import progress
from cyclades_tx.gtools.courier import MOST_WAITING, Courier
from cyclades_tx.gtools.progress import Monitor, Objects
from tests.gtools.recorder import RecordingBroker
from tests.gtools.values import HANG_SECONDS, PATIENT, VALUES

COPIED = {"type": "image-copy-progress", "position": 1, "total": 4}
#: What a start of Python with Twisted may take here.
START_SECONDS = 40.0


class Told:
    """A monitor with a clock, and what it sent."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.25
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.monitor = Monitor(
            "snf-43", lambda key, message: self.sent.append((key, message)), lambda: self.now
        )

    def copied(self, percent: object, seconds: float = 0.0) -> None:
        self.now += seconds
        self.monitor.take({**COPIED, "progress": percent})

    def percents(self) -> list[Any]:
        return [message["progress"] for _, message in self.sent]


def test_a_notification_gets_the_time_and_the_instance() -> None:
    """And the instance's own routing key; what it says itself about these does not count."""
    told = Told()
    shown = told.monitor.take({"type": "image-info", "messages": ["hi"], "instance": "x-1"})
    assert told.sent == [
        (
            "ganeti.snf.event.progress",
            {
                "type": "image-info",
                "messages": ["hi"],
                "instance": "snf-43",
                "event_time": [1_700_000_000, 250_000],
            },
        )
    ]
    assert shown == told.sent[0][1]


def test_only_percentages_that_say_something_new_are_sent() -> None:
    """One a second at most, and one a percent; the last always."""
    told = Told()
    for step in range(1000):
        told.copied(step / 10, seconds=0.1)
    told.monitor.flush()
    assert 90 <= len(told.sent) <= 101
    assert told.percents()[-1] == 99.9
    sent = len(told.sent)
    told.monitor.flush()
    assert len(told.sent) == sent


def test_a_percentage_that_was_held_back_goes_before_the_next_word() -> None:
    """So that the order stays."""
    told = Told()
    told.copied(1.0)
    told.copied(100.0)
    told.monitor.take({"type": "image-helper", "subtype": "task-start", "task": "x"})
    assert [message.get("progress") for _, message in told.sent] == [1.0, 100.0, None]


def test_nonsense_for_a_percentage_is_passed_on() -> None:
    """The consumer judges it."""
    told = Told()
    told.copied("many")
    told.copied(None, seconds=2)
    told.monitor.flush()
    assert told.percents() == ["many", None]


def test_objects_are_found_in_any_pieces() -> None:
    """With anything between them."""
    text = '{"a": "x} \\" {"}  \n {"b": {"c": [1]}}{"d": 1} rubbish } ] {"e": 2}'
    wanted = [{"a": 'x} " {'}, {"b": {"c": [1]}}, {"d": 1}, {"e": 2}]
    for size in (1, 3, 512):
        objects = Objects()
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        assert [each for piece in pieces for each in objects.feed(piece)] == wanted


@PATIENT
@given(st.lists(st.dictionaries(st.text(), VALUES), max_size=3), st.text(alphabet=" \n]},x1"))
def test_every_object_comes_through(given_objects: list[dict[str, Any]], between: str) -> None:
    """Whatever is in it."""
    text = between.join(json.dumps(each, ensure_ascii=False) for each in given_objects)
    assert list(Objects().feed(text)) == given_objects


@pytest.mark.parametrize(
    "text",
    ['{"a": NaN} ', "{x} ", pytest.param('{"a":' * 3000 + "1" + "}" * 3000, id="deep")],
)
def test_what_only_looks_like_an_object_is_passed_over(text: str) -> None:
    """The next one counts."""
    found = list(Objects().feed(text + '{"b": 1}'))
    assert found[-1] == {"b": 1}
    assert all(json.dumps(each) for each in found[:-1]) and len(found) <= 2


def test_an_object_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded."""
    monkeypatch.setattr(progress, "MOST_CHARACTERS", 1000)
    objects = Objects()
    assert list(objects.feed('{"a": "' + "x" * 1000)) == []
    assert objects._characters == []
    assert list(objects.feed('{"b": 1}')) == [{"b": 1}]


def offered(courier: Courier, *numbers: int) -> None:
    for number in numbers:
        courier.offer("k", {"n": number})


async def test_a_courier_delivers_in_order_when_the_broker_comes() -> None:
    """And its end waits for that."""
    from twisted.internet import reactor

    broker = RecordingBroker(connected=False)
    courier = Courier(reactor, broker, "ganeti")
    offered(courier, 1, 2, 3)
    reactor.callLater(0.02, broker.come)  # type: ignore[attr-defined]
    await courier.end(HANG_SECONDS)
    assert [each["n"] for each in broker.messages()] == [1, 2, 3]
    assert (broker.exchanges, courier.lost) == (["ganeti"], 0)


async def test_a_courier_does_not_wait_for_a_broker_for_ever() -> None:
    """What it could not deliver is counted."""
    from twisted.internet import reactor

    courier = Courier(reactor, RecordingBroker(connected=False), "ganeti")
    offered(courier, 1, 2)
    before = time.monotonic()
    await courier.end(0.05)
    assert courier.lost == 2
    assert time.monotonic() - before < HANG_SECONDS


async def test_a_courier_carries_only_so_much() -> None:
    """The oldest are given up, and what is too large or cannot be written at once."""
    from twisted.internet import reactor

    broker = RecordingBroker(connected=False)
    courier = Courier(reactor, broker, "ganeti")
    courier.offer("k", {"n": "x" * 300_000})
    courier.offer("k", {"n": object()})
    offered(courier, *range(MOST_WAITING + 10))
    broker.come()
    await courier.end(1)
    assert [each["n"] for each in broker.messages()] == list(range(10, MOST_WAITING + 10))
    assert courier.lost == 12


async def test_a_message_that_is_refused_does_not_stop_the_others() -> None:
    """It is counted."""
    from twisted.internet import reactor

    broker = RecordingBroker(connected=False)
    broker.refusing.add("bad")
    courier = Courier(reactor, broker, "ganeti")
    courier.offer("bad", {"n": 1})
    offered(courier, 2)
    broker.come()
    await courier.end(1)
    assert ([each["n"] for each in broker.messages()], courier.lost) == ([2], 1)


async def test_what_was_lost_on_the_way_is_carried_again() -> None:
    """With the next connection."""
    from twisted.internet import reactor

    broker = RecordingBroker()
    broker.holding = True
    courier = Courier(reactor, broker, "ganeti")
    offered(courier, 1, 2)
    broker.go()
    broker.holding = False
    broker.come()
    await courier.end(1)
    assert [each["n"] for each in broker.messages()] == [1, 1, 2]


@pytest.fixture
def away(tmp_path: Path) -> Path:
    """A configuration whose broker is not there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    path = tmp_path / "eventd.toml"
    path.write_text(f'[broker]\nurls = ["amqp://127.0.0.1:{port}"]\nusername = "u"\n')
    return path


def ran(*arguments: str | Path, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run the monitor with a text on its standard input."""
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "from cyclades_tx.gtools.progress import main; exit(main())",
            *map(str, arguments),
        ],
        input=text,
        capture_output=True,
        text=True,
        timeout=START_SECONDS + progress.END_SECONDS,
        check=False,
        cwd=Path(__file__).parents[2],
    )


def test_without_a_broker_the_image_is_not_held_up(away: Path) -> None:
    """The words still stand in the log of the OS script; the exit code is 0."""
    before = time.monotonic()
    done = ran("--config", away, "snf-43", text='{"type": "image-info", "messages": ["hi"]}')
    assert done.returncode == 0
    shown = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert [(each["type"], each["instance"]) for each in shown] == [("image-info", "snf-43")]
    assert "1 messages were not sent" in done.stderr
    assert time.monotonic() - before < START_SECONDS + progress.END_SECONDS


@pytest.mark.parametrize("content", [None, "nonsense", '[broker]\npassword_file = "/nowhere"'])
def test_without_a_usable_configuration_everything_is_only_shown(
    tmp_path: Path, content: str | None
) -> None:
    """Whatever is wrong with it; nothing of a megabyte stays in the pipe."""
    path = tmp_path / "eventd.toml"
    if content is not None:
        path.write_text(content)
    done = ran("--config", path, "snf-43", text='{"type": "image-info"}' + " " * 1_000_000)
    assert done.returncode == 0
    assert "nothing is sent" in done.stderr
    assert '"image-info"' in done.stderr


@pytest.mark.parametrize("arguments", [[], [""], ["a", "b"], ["--nonsense", "a"]])
def test_wrong_usage_is_1(arguments: list[str]) -> None:
    """As the original has it."""
    assert ran(*arguments).returncode == 1


def test_it_ends_when_it_is_told_to(away: Path) -> None:
    """Though its input goes on."""
    read, write = os.pipe()
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from cyclades_tx.gtools.progress import main; exit(main())",
            "--config",
            str(away),
            "snf-43",
        ],
        stdin=read,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    try:
        os.write(write, b'{"type": "image-info"}')
        assert child.stderr is not None
        assert child.stderr.readline().startswith(b"{")
        child.send_signal(signal.SIGTERM)
        assert child.wait(START_SECONDS) == 0
    finally:
        child.kill()
        child.communicate()
        os.close(read)
        os.close(write)
