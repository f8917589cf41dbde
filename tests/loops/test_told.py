"""Jobs whose end is told by a message: the watch over jobs, with a clock that is moved by hand."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from cyclades_tx.errors import Unavailable
from cyclades_tx.ganeti.interfaces import GanetiUnavailable
from cyclades_tx.loops import jobs as watch_module
from cyclades_tx.loops.jobs import SILENT_TURNS, TOLD_TURNS, JobWatch
from cyclades_tx.model.job import Job, JobStatus
from cyclades_tx.store.facts import Told

MOMENT = 0.01


class Scene:
    """A watch, what the cluster says, and what the messages have told."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.cluster: dict[int, JobStatus] = {}
        self.told: dict[int, JobStatus] = {}
        self.asked: list[tuple[int, ...]] = []
        self.read: list[list[Any]] = []
        self.marks: list[Any] = []
        self.woken: list[str] = []
        self.away = False
        self.database_away = False
        self.watch = JobWatch(self.clock, self, self, self.woken.append, 1.0)

    async def jobs(self, ids: tuple[int, ...]) -> dict[int, Job]:
        """The cluster."""
        self.asked.append(ids)
        if self.away:
            raise GanetiUnavailable("away")
        return {each: Job(each, self.cluster.get(each, JobStatus.RUNNING)) for each in ids}

    async def run(self, sql: str, args: Any = ()) -> int:
        """The database: marks of jobs."""
        self.marks.append(args)
        return 1

    async def of_jobs(self, querier: Any, watched: list[tuple[int, str, int]]) -> list[Told]:
        """What was told."""
        self.read.append(list(watched))
        if self.database_away:
            raise Unavailable("away")
        found = []
        for job_id, _, operation_id in watched:
            status = self.told.get(job_id)
            if status is not None:
                job = Job(job_id, status, told=True) if status.final else None
                found.append(Told(operation_id, job_id, str(status), job))
        return found


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A scene in which nothing is watched."""
    made = Scene()
    monkeypatch.setattr(watch_module.facts, "of_jobs", made.of_jobs)
    return made


def test_what_was_heard_ends_a_job_without_asking(scene: Scene) -> None:
    """Within moments."""
    scene.watch.watch(1, "s7", 70)
    scene.told[1] = JobStatus.SUCCESS
    assert scene.watch.heard("s7")
    scene.clock.advance(MOMENT)
    assert scene.woken == ["s7"]
    job = scene.watch.ended(1)
    assert job is not None
    assert (job.status, job.told) == (JobStatus.SUCCESS, True)
    assert (scene.asked, scene.read) == ([], [[(1, "o7", 70)]])
    assert scene.watch.told


def test_many_at_once_are_read_together(scene: Scene) -> None:
    """And only those that were heard of."""
    for number in range(1, 51):
        scene.watch.watch(number, f"s{number}", number)
        scene.told[number] = JobStatus.SUCCESS
    for number in range(1, 31):
        scene.watch.heard(f"s{number}")
    scene.clock.advance(MOMENT)
    assert [len(each) for each in scene.read] == [30]
    assert len(scene.woken) == 30


def test_very_many_are_read_in_parts(scene: Scene) -> None:
    """Each of a bounded size, one after the other."""
    for number in range(1, 702):
        scene.watch.watch(number, f"s{number}", number)
        scene.told[number] = JobStatus.SUCCESS
        scene.watch.heard(f"s{number}")
    scene.clock.pump([MOMENT] * 3)
    assert [len(each) for each in scene.read] == [300, 300, 101]
    assert len(scene.woken) == 701


def test_nothing_is_read_for_what_is_not_watched(scene: Scene) -> None:
    """Somebody else looks after it."""
    scene.watch.watch(1, "s7", 70)
    assert not scene.watch.heard("s8")
    scene.clock.advance(MOMENT)
    assert scene.read == []


def test_a_message_may_be_faster_than_the_clusters_answer(scene: Scene) -> None:
    """Then it is read as soon as the job is watched."""
    scene.told[1] = JobStatus.SUCCESS
    scene.watch.heard("s7")
    scene.clock.advance(MOMENT)
    scene.watch.watch(1, "s7", 70)
    scene.clock.advance(MOMENT)
    assert scene.woken == ["s7"]
    assert scene.asked == []


def told_of_one(scene: Scene) -> None:
    """Let messages be known to come."""
    scene.watch.watch(99, "s99", 99)
    scene.told[99] = JobStatus.SUCCESS
    scene.watch.heard("s99")
    scene.clock.advance(MOMENT)
    scene.woken.clear()
    scene.read.clear()


def test_while_messages_come_the_cluster_is_asked_rarely_but_asked(scene: Scene) -> None:
    """The database is asked instead."""
    told_of_one(scene)
    scene.watch.watch(1, "s1", 10)
    for _ in range(3 * TOLD_TURNS):
        scene.watch.heard("s5")
        scene.clock.advance(1.0)
        scene.clock.advance(MOMENT)
    assert len(scene.asked) == 3
    assert len(scene.read) >= 2 * TOLD_TURNS


def test_when_messages_fall_silent_the_first_end_is_found_soon(scene: Scene) -> None:
    """The broker may be away: the cluster is asked as often as without one."""
    told_of_one(scene)
    scene.watch.watch(1, "s1", 10)
    scene.clock.pump([1.0] * (SILENT_TURNS + 1))
    assert scene.asked == [(1,)]
    assert not scene.watch.told
    scene.cluster[1] = JobStatus.SUCCESS
    scene.clock.advance(1.0)
    assert scene.woken == ["s1"]


def test_a_rest_without_jobs_is_no_silence(scene: Scene) -> None:
    """There was nothing to tell of."""
    told_of_one(scene)
    scene.clock.pump([1.0] * 20)
    scene.watch.watch(1, "s1", 10)
    scene.clock.pump([1.0] * SILENT_TURNS)
    assert (scene.asked, scene.watch.told) == ([], True)


def test_a_network_that_we_woke_ourselves_ends_no_silence(scene: Scene) -> None:
    """Only messages wake looks at servers; networks are woken when somebody makes one too."""
    told_of_one(scene)
    scene.watch.watch(1, "s1", 10)
    for _ in range(SILENT_TURNS + 1):
        scene.watch.heard("n7")
        scene.clock.advance(1.0)
    assert not scene.watch.told


def test_an_end_that_nobody_told_makes_the_polls_frequent_again(scene: Scene) -> None:
    """The broker may be gone."""
    told_of_one(scene)
    scene.watch.watch(1, "s1", 10)
    scene.cluster[1] = JobStatus.SUCCESS
    for _ in range(TOLD_TURNS):
        scene.watch.heard("s5")
        scene.clock.advance(1.0)
    assert scene.woken == ["s1"]
    assert not scene.watch.told
    asked = len(scene.asked)
    scene.watch.watch(2, "s2", 20)
    scene.clock.pump([1.0] * 5)
    assert len(scene.asked) == asked + 5


def test_a_lost_notification_costs_a_turn(scene: Scene) -> None:
    """What was told is read at each turn anyway."""
    told_of_one(scene)
    scene.watch.watch(1, "s1", 10)
    scene.clock.advance(MOMENT)
    scene.told[1] = JobStatus.SUCCESS
    scene.clock.advance(1.0)
    scene.clock.advance(MOMENT)
    assert scene.woken == ["s1"]


@pytest.mark.parametrize("end", [JobStatus.ERROR, JobStatus.CANCELED])
def test_of_a_failure_the_cluster_itself_is_asked_at_once(scene: Scene, end: JobStatus) -> None:
    """It knows the reason; and a forged one is found out."""
    scene.watch.watch(1, "s1", 10)
    scene.told[1] = end
    scene.cluster[1] = end
    scene.watch.heard("s1")
    scene.clock.advance(MOMENT)
    scene.clock.advance(0)
    assert scene.asked == [(1,)]
    assert scene.woken == ["s1"]
    job = scene.watch.ended(1)
    assert job is not None
    assert not job.told


def test_a_forged_failure_ends_nothing(scene: Scene) -> None:
    """The job is watched on, and its messages are not believed any more."""
    scene.watch.watch(1, "s1", 10)
    scene.told[1] = JobStatus.ERROR
    scene.watch.heard("s1")
    scene.clock.advance(MOMENT)
    scene.clock.advance(0)
    assert scene.watch.ended(1) is None
    scene.told[1] = JobStatus.SUCCESS
    scene.watch.heard("s1")
    scene.clock.advance(MOMENT)
    assert scene.woken == []
    scene.cluster[1] = JobStatus.SUCCESS
    scene.clock.advance(1.0)
    assert scene.woken == ["s1"]


async def test_an_end_can_be_confirmed(scene: Scene) -> None:
    """The cluster's own word takes the place of the message's."""
    scene.watch.watch(1, "s1", 10)
    scene.told[1] = JobStatus.SUCCESS
    scene.watch.heard("s1")
    scene.clock.advance(MOMENT)
    scene.cluster[1] = JobStatus.SUCCESS
    asking = Deferred.fromCoroutine(scene.watch.confirm(1))
    scene.clock.advance(0.1)
    job = await asking
    assert job is not None
    assert not job.told
    assert scene.watch.ended(1) is job


async def test_ends_that_were_told_together_are_confirmed_with_one_question(
    scene: Scene,
) -> None:
    """However many operations they close."""
    numbers = tuple(range(1, 41))
    for number in numbers:
        scene.watch.watch(number, f"s{number}", number)
        scene.told[number] = scene.cluster[number] = JobStatus.SUCCESS
        scene.watch.heard(f"s{number}")
    scene.clock.advance(MOMENT)
    asking = [Deferred.fromCoroutine(scene.watch.confirm(number)) for number in numbers]
    scene.clock.advance(0.02)
    assert scene.asked == [numbers]
    assert [(await each).id for each in asking] == list(numbers)  # type: ignore[union-attr]


async def test_an_end_that_is_not_confirmed_never_was(scene: Scene) -> None:
    """The job is watched again, with the cluster's own eyes."""
    scene.watch.watch(1, "s1", 10)
    scene.told[1] = JobStatus.SUCCESS
    scene.watch.heard("s1")
    scene.clock.advance(MOMENT)
    asking = Deferred.fromCoroutine(scene.watch.confirm(1))
    scene.clock.advance(0.1)
    assert await asking is None
    assert scene.watch.ended(1) is None
    scene.watch.watch(1, "s1", 10)
    scene.woken.clear()
    scene.clock.advance(MOMENT)
    assert scene.woken == []
    scene.cluster[1] = JobStatus.ERROR
    scene.clock.advance(1.0)
    assert scene.woken == ["s1"]


def test_statuses_on_the_way_are_written_down(scene: Scene) -> None:
    """Once each."""
    told_of_one(scene)
    scene.watch.watch(1, "s1", 10)
    scene.told[1] = JobStatus.WAITING
    scene.clock.advance(MOMENT)
    scene.clock.advance(1.0)
    scene.clock.advance(MOMENT)
    assert scene.marks == [([10], ["waiting"])]


def test_without_a_database_the_next_turn_reads_again(scene: Scene) -> None:
    """Nothing is lost."""
    told_of_one(scene)
    scene.watch.watch(1, "s1", 10)
    scene.told[1] = JobStatus.SUCCESS
    scene.database_away = True
    scene.watch.heard("s1")
    scene.clock.advance(MOMENT)
    scene.database_away = False
    scene.clock.advance(1.0)
    scene.clock.advance(MOMENT)
    assert scene.woken == ["s1"]


async def test_after_the_stop_nothing_is_read(scene: Scene) -> None:
    """And no timer is left."""
    scene.watch.watch(1, "s1", 10)
    scene.watch.heard("s1")
    await scene.watch.stop()
    scene.watch.heard("s1")
    assert scene.clock.getDelayedCalls() == []
    assert scene.read == []
