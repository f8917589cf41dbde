"""The watch over jobs, with a clock that is moved by hand."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from cyclades_tx.ganeti.interfaces import GanetiUnavailable
from cyclades_tx.loops.jobs import JobWatch
from cyclades_tx.model.job import Job, JobStatus


class MemoryQueue:
    """Answers for jobs; knows what it was asked."""

    def __init__(self) -> None:
        self.status: dict[int, JobStatus] = {}
        self.asked: list[tuple[int, ...]] = []
        self.away = False
        self.answer: Deferred[None] | None = None

    async def jobs(self, ids: tuple[int, ...]) -> dict[int, Job]:
        """Say how jobs stand."""
        self.asked.append(ids)
        if self.answer is not None:
            await self.answer
        if self.away:
            raise GanetiUnavailable("away")
        return {each: Job(each, self.status.get(each, JobStatus.UNKNOWN)) for each in ids}


class MemoryMarks:
    """A database that only takes the marks of jobs."""

    def __init__(self) -> None:
        self.marks: list[Any] = []

    async def run(self, sql: str, args: Any = ()) -> int:
        """Keep them."""
        self.marks.append(args)
        return 1


class Watched:
    """A watch and all that it touches."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.queue = MemoryQueue()
        self.marks = MemoryMarks()
        self.woken: list[str] = []
        self.watch = JobWatch(self.clock, self.queue, self.marks, self.woken.append, 1.0)


@pytest.fixture
def watched() -> Watched:
    """A watch that watches nothing yet."""
    return Watched()


def test_nothing_is_asked_while_there_is_nothing_to_watch(watched: Watched) -> None:
    """No timer runs."""
    assert watched.clock.getDelayedCalls() == []


def test_all_jobs_are_one_question(watched: Watched) -> None:
    """Once in an interval."""
    watched.queue.status = {1: JobStatus.RUNNING, 2: JobStatus.QUEUED}
    watched.watch.watch(2, "s2", 20)
    watched.watch.watch(1, "s1", 10)
    watched.clock.pump([1.0, 1.0])
    assert watched.queue.asked == [(1, 2), (1, 2)]


def test_a_job_that_ends_wakes_its_key_and_is_asked_for_no_more(watched: Watched) -> None:
    """Until it is forgotten its end is known."""
    watched.watch.watch(1, "s1", 10)
    watched.queue.status[1] = JobStatus.SUCCESS
    watched.clock.advance(1)
    assert watched.woken == ["s1"]
    ended = watched.watch.ended(1)
    assert ended is not None and ended.status is JobStatus.SUCCESS
    watched.watch.watch(1, "s1", 10)
    watched.clock.pump([1.0] * 5)
    assert len(watched.queue.asked) == 1
    watched.watch.forget(1)
    assert watched.watch.ended(1) is None


def test_a_job_that_the_queue_does_not_know_has_ended(watched: Watched) -> None:
    """Nothing more will come of it."""
    watched.watch.watch(1, "s1", 10)
    watched.clock.advance(1)
    ended = watched.watch.ended(1)
    assert ended is not None and ended.status is JobStatus.UNKNOWN


def test_a_new_status_is_written_down_once(watched: Watched) -> None:
    """For people who look at the operation."""
    watched.watch.watch(1, "s1", 10)
    for status in (JobStatus.QUEUED, JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.RUNNING):
        watched.queue.status[1] = status
        watched.clock.advance(1)
    assert watched.marks.marks == [([10], ["queued"]), ([10], ["running"])]


def test_a_cluster_that_is_away_is_asked_again(watched: Watched) -> None:
    """Nothing is lost."""
    watched.watch.watch(1, "s1", 10)
    watched.queue.away = True
    watched.clock.pump([1.0, 1.0])
    watched.queue.away = False
    watched.queue.status[1] = JobStatus.ERROR
    watched.clock.advance(1)
    assert watched.woken == ["s1"]


def test_a_job_forgotten_during_the_question_wakes_nobody(watched: Watched) -> None:
    """Its operation is over."""
    watched.queue.answer = Deferred()
    watched.watch.watch(1, "s1", 10)
    watched.clock.advance(1)
    watched.watch.forget(1)
    watched.queue.status[1] = JobStatus.SUCCESS
    watched.queue.answer.callback(None)
    assert watched.woken == []
    assert watched.watch.ended(1) is None
    assert watched.clock.getDelayedCalls() == []


def test_a_slow_answer_is_waited_for(watched: Watched) -> None:
    """No second question goes out meanwhile."""
    answer = watched.queue.answer = Deferred()
    watched.watch.watch(1, "s1", 10)
    watched.clock.pump([1.0] * 10)
    assert len(watched.queue.asked) == 1
    watched.queue.answer = None
    watched.queue.status[1] = JobStatus.RUNNING
    answer.callback(None)
    watched.clock.advance(1)
    assert len(watched.queue.asked) == 2


def test_many_jobs_are_several_questions(watched: Watched) -> None:
    """Each of a bounded size."""
    for number in range(1, 702):
        watched.queue.status[number] = JobStatus.SUCCESS
        watched.watch.watch(number, f"s{number}", number)
    watched.clock.advance(1)
    assert [len(each) for each in watched.queue.asked] == [300, 300, 101]
    assert len(watched.woken) == 701


async def test_stop_ends_a_question_and_asks_no_more(watched: Watched) -> None:
    """Also when it never got an answer."""
    watched.queue.answer = Deferred()
    watched.watch.watch(1, "s1", 10)
    watched.clock.advance(1)
    await watched.watch.stop()
    watched.watch.watch(2, "s2", 20)
    watched.clock.pump([1.0] * 3)
    assert len(watched.queue.asked) == 1
    assert watched.clock.getDelayedCalls() == []
