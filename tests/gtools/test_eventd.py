"""The whole daemon on a folder in which jobs run as Ganeti writes them down."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_twisted
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import deferLater

from cyclades_tx.gtools import eventd
from cyclades_tx.gtools.buffer import Buffer
from cyclades_tx.gtools.config import Config, GanetiSection, StateSection
from cyclades_tx.gtools.eventd import EventDaemon
from cyclades_tx.gtools.jobfile import ClosedJobFile
from cyclades_tx.mq.interfaces import Queue as Topic
from cyclades_tx.mq.memory import MemoryBroker, MemoryNode
from tests.gtools.jobs import Queue, job, op, shutdown, startup
from tests.gtools.luxid import MemoryLuxid
from tests.gtools.recorder import RecordingBroker
from tests.gtools.test_buffer import killed
from tests.gtools.values import HANG_SECONDS, PATIENT


class Node:
    """A master node with the daemon on it.

    :ivar broker: outlives the daemon.
    """

    def __init__(self, folder: Path, buffer_bytes: int = 1_048_576) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.queue = Queue(folder / "ganeti")
        self.broker: Any = RecordingBroker()
        self.luxid = MemoryLuxid(reactor, folder / "query")
        self.config = Config(
            ganeti=GanetiSection(
                data_folder=str(self.queue.folder),
                luxi_socket=str(self.luxid.path),
                luxi_timeout_seconds=1.0,
            ),
            state=StateSection(folder=str(folder / "state"), buffer_bytes=buffer_bytes),
        )
        self.daemon: EventDaemon | None = None

    def start(self, **ganeti: Any) -> EventDaemon:
        """Start the daemon."""
        config = msgspec.structs.replace(
            self.config, ganeti=msgspec.structs.replace(self.config.ganeti, **ganeti)
        )
        buffer = Buffer(config.state.folder, config.state.buffer_bytes)
        buffer.open()
        self.daemon = EventDaemon(self.reactor, config, "N1.test", self.broker, buffer)
        self.daemon.startService()
        return self.daemon

    async def stop(self) -> None:
        """Stop it, if it runs."""
        daemon, self.daemon = self.daemon, None
        if daemon is not None:
            await daemon.stopService()

    async def kill(self) -> None:
        """Stop it so that nothing more is written by it."""
        assert self.daemon is not None
        killed(self.daemon.buffer)
        await self.stop()

    def told(self) -> list[tuple[int, str]]:
        """Job and state of each message, in order."""
        return [(each["jobId"], each["status"]) for each in self.broker.messages()]

    async def until(self, holds: Callable[[], bool], seconds: float = HANG_SECONDS) -> None:
        """Wait until something holds."""
        end = self.reactor.seconds() + seconds
        while not holds():
            assert self.reactor.seconds() < end
            await deferLater(self.reactor, 0.005)

    async def tells(self, *wanted: tuple[int, str]) -> None:
        """Wait until exactly this was told."""
        await self.until(lambda: len(self.told()) >= len(wanted))
        await deferLater(self.reactor, 0.03)
        assert self.told() == list(wanted)


@pytest_twisted.async_yield_fixture
async def node(tmp_path: Path) -> Any:
    """A node whose daemon is stopped at the end."""
    made = Node(tmp_path)
    yield made
    await made.stop()
    await made.luxid.stop()


async def test_a_job_is_told_state_by_state(node: Node) -> None:
    """With each log line, each once however often its file is written."""
    node.start()
    for status, log, told in (
        ("queued", 0, 1),
        ("queued", 0, 1),
        ("waiting", 0, 2),
        ("running", 0, 3),
        ("running", 1, 4),
        ("running", 1, 4),
        ("success", 1, 5),
    ):
        node.queue.write(shutdown(4, status, log))
        # A state that was overwritten before anybody could read it is told by nobody.
        await node.until(lambda: len(node.told()) >= told)  # noqa: B023 - called at once
        await deferLater(node.reactor, 0.02)
    await node.tells((4, "queued"), (4, "waiting"), (4, "running"), (4, "running"), (4, "success"))
    assert {each.exchange for each in node.broker.published} == {"ganeti"}
    assert node.broker.exchanges == ["ganeti"]
    assert {each["cluster"] for each in node.broker.messages()} == {"g1.test"}


async def test_what_is_bound_gets_its_messages(node: Node) -> None:
    """Through a broker that routes, and that is away for a while."""
    memory = MemoryNode(node.reactor)
    ours, theirs = MemoryBroker(node.reactor, memory), MemoryBroker(node.reactor, memory)
    theirs.declare([Topic("op", (("ganeti", "ganeti.snf.event.op"),))])
    theirs.start()
    node.broker = ours
    daemon = node.start()
    node.queue.write(shutdown(1, "queued"))
    node.queue.write(shutdown(2, "success", name="other-1"))
    await node.until(lambda: len(memory.bodies("op")) == 1)
    memory.stop()
    node.queue.write(shutdown(1, "running"))
    await node.until(lambda: daemon.buffer.waiting == 1)
    node.queue.write(shutdown(1, "success"))
    memory.start()
    await node.until(lambda: len(memory.bodies("op")) == 3 and daemon.buffer.waiting == 0)
    states = [msgspec.json.decode(body)["status"] for body in memory.bodies("op")]
    assert states == ["queued", "running", "success"]
    await theirs.stop()


async def test_the_end_is_told_within_50_milliseconds(node: Node) -> None:
    """From the rename to the broker, in the best of 20: other work of the machine counts not."""
    node.start()
    await node.until(lambda: node.broker.connected)
    waits = []
    for number in range(1, 21):
        before = node.reactor.seconds()
        node.queue.write(shutdown(number, "success"))
        while len(node.broker.published) < number:
            await deferLater(node.reactor, 0.001)
            assert node.reactor.seconds() - before < HANG_SECONDS
        waits.append(node.reactor.seconds() - before)
    assert min(waits) < 0.05, waits


async def test_the_configuration_is_asked_for_and_goes_along(node: Node) -> None:
    """One question for all the instances that ended together."""
    node.luxid.start()
    node.luxid.rows = {f"snf-{n}": {"nic.names": [f"nic-{n}"]} for n in range(1, 10)}
    for number in range(1, 10):
        node.queue.write(startup(number, "success", name=f"snf-{number}"))
    node.start()
    await node.until(lambda: len(node.told()) == 9)
    names = [each["instance_nics"][0]["name"] for each in node.broker.messages()]
    assert names == [f"nic-{n}" for n in range(1, 10)]
    assert len(node.luxid.asked) == 1


async def test_without_ganetis_socket_the_message_goes_all_the_same(node: Node) -> None:
    """And it is not waited for again and again."""
    node.luxid.start()
    node.luxid.silent = True
    node.start()
    for number in (1, 2, 3):
        node.queue.write(startup(number, "success"))
        await node.until(lambda: len(node.told()) == number)  # noqa: B023 - called at once
    assert len(node.luxid.asked) == 1
    assert "instance_nics" not in node.broker.messages()[0]


async def test_a_restart_tells_what_was_missed_and_repeats_nothing(node: Node) -> None:
    """Jobs that ended meanwhile, also those that were archived, and new ones."""
    node.start()
    node.queue.write(shutdown(1, "success"))
    node.queue.write(shutdown(2, "running"))
    node.queue.write(shutdown(3, "running"))
    await node.until(lambda: len(node.told()) == 3)
    await node.stop()
    node.queue.write(shutdown(2, "success"))
    node.queue.write(shutdown(3, "error"))
    node.queue.write(shutdown(4, "success"))
    node.queue.write(shutdown(5, "queued"))
    for number in (1, 3, 4):
        node.queue.archive(number)
    node.broker.published.clear()
    node.start()
    await node.until(lambda: len(node.told()) >= 4)
    await deferLater(node.reactor, 0.05)
    assert sorted(node.told()) == [(2, "success"), (3, "error"), (4, "success"), (5, "queued")]


async def test_a_kill_repeats_only_what_was_not_confirmed(node: Node) -> None:
    """And loses nothing."""
    node.broker.holding = True
    node.start()
    node.queue.write(shutdown(1, "success"))
    await node.until(lambda: len(node.told()) == 1)
    node.broker.confirm()
    await deferLater(node.reactor, 0.1)
    node.queue.write(shutdown(2, "success"))
    await node.until(lambda: len(node.told()) == 2)
    await node.kill()
    node.broker.holding = False
    node.broker.published.clear()
    node.queue.write(shutdown(3, "success"))
    node.start()
    await node.tells((2, "success"), (3, "success"))


async def test_messages_wait_for_a_broker_that_is_away(node: Node) -> None:
    """Through a restart of the daemon as well; they come in order."""
    first = node.start()
    await node.until(lambda: node.broker.connected)
    node.broker.go()
    for number, status in enumerate(("queued", "running"), start=1):
        node.queue.write(shutdown(1, status))
        await node.until(lambda: first.buffer.waiting == number)  # noqa: B023 - called at once
    await node.stop()
    node.queue.write(shutdown(1, "success"))
    daemon = node.start()
    await node.until(lambda: daemon.buffer.waiting == 3)
    node.broker.come()
    await node.tells((1, "queued"), (1, "running"), (1, "success"))


async def test_a_broker_that_stays_away_costs_old_messages_only(node: Node) -> None:
    """The disk is not filled, and the newest are told at last."""
    node.broker.reachable = False
    daemon = node.start()
    await node.until(daemon.mastership.here)
    for number in range(1, 300):
        node.queue.write(
            job(
                number,
                op("OP_INSTANCE_SHUTDOWN", "success", instance_name="snf-1", _result=["x" * 8000]),
            )
        )
    await node.until(lambda: daemon.buffer.waiting + daemon.buffer.dropped == 299)
    assert daemon.buffer.dropped > 100
    node.broker.come()
    await node.until(lambda: daemon.buffer.waiting == 0)
    numbers = [number for number, _ in node.told()]
    assert numbers == sorted(numbers)
    assert len(numbers) == 299 - daemon.buffer.dropped


async def test_only_the_master_tells(node: Node) -> None:
    """A node that becomes it tells what it finds; one that was it stops."""
    node.queue.name_master("n2.test")
    node.start()
    node.queue.write(shutdown(1, "running"))
    await deferLater(node.reactor, 0.1)
    assert node.told() == []
    node.queue.name_master("n1.test")
    await node.tells((1, "running"))
    node.queue.name_master("n2.test")
    node.queue.write(shutdown(1, "success"))
    await deferLater(node.reactor, 1.2)
    assert node.told() == [(1, "running")]
    node.queue.archive(1)
    node.queue.name_master("n1.test")
    await node.tells((1, "running"), (1, "success"))


async def test_a_former_master_leaves_what_waits_to_the_new_one(node: Node) -> None:
    """Who has the same jobs."""
    node.broker.reachable = False
    daemon = node.start()
    node.queue.write(shutdown(1, "success"))
    await node.until(lambda: daemon.buffer.waiting == 1)
    node.queue.name_master("n2.test")
    await node.until(lambda: daemon.buffer.waiting == 0)
    node.broker.come()
    await deferLater(node.reactor, 0.05)
    assert node.told() == []
    # Nobody else was it, after all.
    node.queue.name_master("n1.test")
    await node.tells((1, "success"))


async def test_ganeti_itself_is_asked_who_the_master_is(node: Node) -> None:
    """Where its files are not there."""
    for name in ("ssconf_master_node", "ssconf_cluster_name"):
        (node.queue.folder / name).unlink()
    node.luxid.start()
    node.queue.write(shutdown(1, "success"))
    daemon = node.start()
    await node.tells((1, "success"))
    # Nobody answers on a node that is not the master.
    await node.luxid.stop()
    await node.until(lambda: not daemon.mastership.here())
    await deferLater(node.reactor, 0.1)
    node.queue.write(shutdown(2, "success"))
    await deferLater(node.reactor, 0.1)
    assert node.told() == [(1, "success")]


async def test_unreadable_files_disturb_nobody(node: Node, logged_errors: Any) -> None:
    """They are named in the log; the next file of the same job counts."""
    node.start()
    for number, raw in enumerate((b"", b"{", b"\xff" * 100, b"[" * 100_000, b"null"), start=1):
        node.queue.write_raw(number, raw)
    (node.queue.jobs / "job-6").mkdir()
    (node.queue.jobs / "job-7").symlink_to("/dev/zero")
    node.queue.write(shutdown(8, "success"))
    await node.tells((8, "success"))
    node.queue.write(shutdown(2, "success"))
    await node.tells((8, "success"), (2, "success"))
    assert not logged_errors.events


async def test_a_job_whose_file_is_closed_is_asked_for(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a job starts its file is luxid's alone; so is one that was canceled then."""
    real = eventd.jobqueue.read_job

    def closed(folder: str, number: int) -> Any:
        if number == 1:
            raise ClosedJobFile("it may not be read")
        return real(folder, number)

    monkeypatch.setattr(eventd.jobqueue, "read_job", closed)
    node.luxid.start()
    daemon = node.start()
    for status in ("queued", "canceled"):
        node.luxid.jobs[1] = shutdown(1, status)
        node.queue.write(shutdown(1, status))
        await node.until(lambda: (1, status) in node.told())  # noqa: B023 - called at once
    node.queue.write(shutdown(2, "success"))
    await node.tells((1, "queued"), (1, "canceled"), (2, "success"))
    asked = len(node.luxid.asked)
    daemon.look("a test")
    await deferLater(node.reactor, 0.05)
    assert len(node.luxid.asked) == asked


async def test_files_that_vanish_disturb_nobody(node: Node) -> None:
    """A job may be archived or removed between the event and the reading."""
    node.start()
    await node.until(lambda: node.daemon is not None and node.daemon._master)
    node.queue.write(shutdown(1, "success"))
    node.queue.archive(1)
    node.queue.write(shutdown(2, "success"))
    (node.queue.jobs / "job-2").unlink()
    node.queue.write(shutdown(3, "success"))
    await node.tells((1, "success"), (3, "success"))


async def test_a_job_that_disappeared_is_not_looked_for_for_ever(node: Node) -> None:
    """It was seen running and is nowhere now."""
    daemon = node.start()
    node.queue.write(shutdown(1, "running"))
    await node.tells((1, "running"))
    (node.queue.jobs / "job-1").unlink()
    daemon.look("a test")
    await node.until(lambda: daemon.buffer.journal.ended(1))


async def test_lost_events_are_made_up_for(node: Node) -> None:
    """By the look that an overflow causes."""
    daemon = node.start()
    await node.until(lambda: daemon._watch.watching)
    await deferLater(node.reactor, 0.05)
    daemon._watch._changed = lambda number: None  # as if the kernel had dropped it
    node.queue.write(shutdown(1, "success"))
    await deferLater(node.reactor, 0.05)
    assert node.told() == []
    daemon._watch._overflowed()
    await node.tells((1, "success"))


async def test_the_slow_look_reads_only_what_has_changed(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tells what no event told, and leaves the rest alone."""
    for number in range(1, 20):
        node.queue.write(shutdown(number, "success"))
    read: list[int] = []
    real = eventd.jobqueue.read_job

    def counted(folder: str, number: int) -> Any:
        read.append(number)
        return real(folder, number)

    monkeypatch.setattr(eventd.jobqueue, "read_job", counted)
    daemon = node.start(scan_seconds=0.05)
    await node.until(lambda: len(node.told()) == 19)
    daemon._watch._changed = lambda number: None
    read.clear()
    node.queue.write(shutdown(20, "success"))
    await node.until(lambda: len(node.told()) == 20)
    await deferLater(node.reactor, 0.2)
    assert read == [20]


async def test_a_full_disk_is_survived(node: Node, logged_errors: Any) -> None:
    """The job is read again when there is room."""
    daemon = node.start()
    await node.until(lambda: daemon._watch.watching and daemon.mastership.here())
    real = daemon.buffer.append

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    daemon.buffer.append = full  # type: ignore[method-assign]
    node.queue.write(shutdown(1, "success"))
    await node.until(lambda: bool(logged_errors.events))
    logged_errors.events.clear()
    daemon.buffer.append = real  # type: ignore[method-assign]
    daemon.look("a test")
    await node.tells((1, "success"))


async def test_a_new_cluster_that_counts_from_1_is_told(node: Node) -> None:
    """Its jobs have the numbers of old ones and other times."""
    node.start()
    node.queue.write(shutdown(1, "success"))
    await node.tells((1, "success"))
    node.queue.write(
        job(1, op("OP_INSTANCE_STARTUP", "success", instance_name="snf-1"), received=1_800_000_000)
    )
    await node.tells((1, "success"), (1, "success"))


async def test_the_heartbeat_is_answered_once(node: Node) -> None:
    """Though the job goes on."""
    node.start()
    given = {"kind": "cluster", "tags": ["snf:eventd:heartbeat:7"], "dry_run": True}
    for status in ("queued", "waiting", "running", "success"):
        node.queue.write(job(1, op("OP_TAGS_SET", status, **given)))
        await node.until(lambda: status == "queued" or bool(node.told()))  # noqa: B023
        await deferLater(node.reactor, 0.02)
    await node.tells((1, "waiting"))
    assert node.broker.published[0].routing_key == "eventd.heartbeat"


async def test_opcodes_of_one_job_are_told_in_their_order(node: Node) -> None:
    """Each with its place in the job."""
    node.start()
    node.queue.write(
        job(
            1,
            op("OP_INSTANCE_SHUTDOWN", "success", instance_name="snf-1"),
            op("OP_INSTANCE_REMOVE", "running", instance_name="snf-1"),
        )
    )
    await node.tells((1, "success"), (1, "running"))
    assert [(each["op_index"], each["job_ops"]) for each in node.broker.messages()] == [
        (0, 2),
        (1, 2),
    ]


STATES = ("queued", "waiting", "running", "success")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("advance"), st.integers(1, 4)),
        st.tuples(st.sampled_from(("kill", "stop", "go", "come", "pause")), st.just(0)),
        st.tuples(st.just("archive"), st.integers(1, 4)),
    ),
    max_size=25,
)


@settings(PATIENT, max_examples=25)
@given(STEPS)
async def test_every_end_is_told_at_last_whatever_happens(steps: list[tuple[str, int]]) -> None:
    """Through kills, restarts, a broker that comes and goes, and archiving."""
    folder = Path(tempfile.mkdtemp())
    node = Node(folder)
    try:
        await _play(node, steps)
    finally:
        await node.stop()
        shutil.rmtree(folder)


async def _play(node: Node, steps: list[tuple[str, int]]) -> None:
    reached = dict.fromkeys(range(1, 5), -1)
    archived: set[int] = set()
    node.start()
    for what, which in steps:
        if what == "advance" and reached[which] + 1 < len(STATES):
            reached[which] += 1
            node.queue.write(shutdown(which, STATES[reached[which]]))
        elif what == "archive" and reached[which] + 1 == len(STATES) and which not in archived:
            archived.add(which)
            node.queue.archive(which)
        elif what in ("kill", "stop"):
            await (node.kill() if what == "kill" else node.stop())
            node.start()
        elif what in ("go", "come"):
            getattr(node.broker, what)()
        elif what == "pause":
            await deferLater(node.reactor, 0.01)
    node.broker.come()
    daemon = node.daemon
    assert daemon is not None
    wanted = {(which, STATES[state]) for which, state in reached.items() if state >= 0}
    await node.until(lambda: wanted <= set(node.told()) and daemon.buffer.waiting == 0)
    for which, state in reached.items():
        states = [each for number, each in node.told() if number == which]
        # Repeated after a kill perhaps, but the last word is the last state.
        assert states[-1:] == [STATES[state]] * (state >= 0)
