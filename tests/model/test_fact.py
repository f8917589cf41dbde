"""Facts: the furthest of several, and that any mixture of messages and looks ends at the truth."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from cyclades_tx.model import quota
from cyclades_tx.model.fact import FINAL_RANK, RANKS, JobFact, advance, furthest
from cyclades_tx.model.instance import Instance, Power
from cyclades_tx.model.job import Job, JobStatus
from cyclades_tx.model.moves import (
    ABSENT,
    ACTIVE,
    BUILDING,
    DELETED,
    ERROR,
    STOPPED,
    Rest,
    Sight,
    observed,
    rest,
)
from cyclades_tx.model.operation import SUBMITTED, SUCCEEDED, Operation
from cyclades_tx.model.ownership import Owner, owner_tag
from cyclades_tx.model.plan import plan_server
from cyclades_tx.model.step import (
    Adopt,
    AskInstance,
    AskOwner,
    AskSiblings,
    Confirm,
    Facts,
    Finish,
    Submit,
    Wait,
)

STATUSES = sorted(RANKS, key=lambda status: RANKS[status])
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def a_fact(status: JobStatus, **more: Any) -> JobFact:
    """A fact about one start."""
    given = {"job_id": 1, "opcode": "OP_INSTANCE_STARTUP", "subject": "o1", "subject_id": 1}
    return JobFact("c", status=status, **{**given, **more})  # type: ignore[arg-type]


def test_the_order_of_the_statuses() -> None:
    """Whatever is not final comes before whatever is."""
    assert set(RANKS) == set(JobStatus) - {JobStatus.UNKNOWN}
    assert len(set(RANKS.values())) == len(RANKS)
    assert all((RANKS[status] >= FINAL_RANK) == status.final for status in RANKS)
    for first, second in ("queued", "waiting"), ("waiting", "running"), ("waiting", "canceling"):
        assert RANKS[JobStatus(first)] < RANKS[JobStatus(second)]


@pytest.mark.parametrize("known", STATUSES)
@pytest.mark.parametrize("seen", STATUSES)
def test_a_status_only_advances(known: JobStatus, seen: JobStatus) -> None:
    """An end is never taken back, and what stands does not change for a repeat."""
    kept = advance(a_fact(known), a_fact(seen, event_seconds=9e9))
    assert kept.rank == max(RANKS[known], RANKS[seen])
    assert not known.final or kept.status.final
    if seen is known:
        assert kept.event_seconds == 0.0


def test_the_first_word_is_kept() -> None:
    """Whatever it is."""
    assert advance(None, a_fact(JobStatus.QUEUED)) == a_fact(JobStatus.QUEUED)


def test_the_order_of_messages_does_not_matter() -> None:
    """All orders of all statuses give the same."""
    told = [a_fact(status) for status in STATUSES[:5]]
    assert {furthest(order)[0].status for order in permutations(told)} == {JobStatus.SUCCESS}


@given(
    st.lists(
        st.builds(
            a_fact,
            st.sampled_from(STATUSES),
            job_id=st.integers(1, 3),
            opcode=st.sampled_from(["OP_A", "OP_B"]),
            subject=st.sampled_from(["o1", "o2", "n1"]),
            op_index=st.integers(-1, 1),
        )
    )
)
def test_one_fact_of_each_key_is_left_in_order(told: list[JobFact]) -> None:
    """So that a batch is one statement, and two batches lock rows in the same order."""
    kept = furthest(told)
    keys = [fact.key for fact in kept]
    assert keys == sorted({fact.key for fact in told})
    for fact in kept:
        assert fact.rank == max(each.rank for each in told if each.key == fact.key)


# What follows is a small world: a cluster with its own truth, messages about it that are lost,
# doubled, reordered and forged, and a driver that takes its decisions from the real functions.


@dataclass
class Truth:
    """An instance as it really is; None: there is none."""

    running: bool | None
    serial: int = 1

    def instance(self, number: int) -> Instance | Sight:
        """What a look at it gives."""
        if self.running is None:
            return ABSENT
        status = "running" if self.running else "ADMIN_down"
        power = Power.RUNNING if self.running else Power.STOPPED
        tags = (owner_tag(str(number)),)
        return Instance(f"snf-{number}", status, power, serial=self.serial, tags=tags)


@dataclass
class TrueJob:
    """A job of the cluster: its opcodes with how far each is, and how each will end."""

    id: int
    server: int
    opcodes: list[str]
    ends: list[JobStatus]
    status: list[JobStatus] = field(default_factory=list)

    @property
    def whole(self) -> Job:
        """What the cluster says of it."""
        for word in (JobStatus.ERROR, JobStatus.CANCELED):
            if word in self.status:
                return Job(self.id, word, message="it failed")
        if all(each is JobStatus.SUCCESS for each in self.status):
            return Job(self.id, JobStatus.SUCCESS)
        begun = any(each is not JobStatus.QUEUED for each in self.status)
        return Job(self.id, JobStatus.RUNNING if begun else JobStatus.QUEUED)


class Cluster:
    """The truth, which goes on step by step; each step says a message."""

    def __init__(self) -> None:
        self.truth: dict[int, Truth] = {}
        self.jobs: dict[int, TrueJob] = {}
        self.said: list[JobFact] = []
        self.kind = True

    def submit(self, server: int, opcodes: list[str], ends: list[JobStatus]) -> int:
        """Accept a job."""
        job = TrueJob(len(self.jobs) + 1, server, opcodes, ends)
        job.status = [JobStatus.QUEUED] * len(opcodes)
        self.jobs[job.id] = job
        for place in range(len(opcodes)):
            self._say(job, place)
        return job.id

    def waiting(self) -> list[int]:
        """The jobs that can go on: of each server the oldest."""
        first: dict[int, int] = {}
        for job in self.jobs.values():
            if not job.whole.status.final:
                first.setdefault(job.server, job.id)
        return sorted(first.values())

    def step(self, job_id: int) -> None:
        """Bring a job one status further."""
        job = self.jobs[job_id]
        place = next(n for n, each in enumerate(job.status) if not each.final)
        after = {JobStatus.QUEUED: JobStatus.WAITING, JobStatus.WAITING: JobStatus.RUNNING}
        status = after.get(job.status[place], job.ends[place])
        truth = self.truth.setdefault(job.server, Truth(None))
        opcode = job.opcodes[place]
        if status is JobStatus.RUNNING and opcode == "OP_INSTANCE_CREATE":
            truth.running, truth.serial = False, truth.serial + 1
        if status is JobStatus.SUCCESS:
            status = self._carry_out(truth, opcode)
        job.status[place] = status
        self._say(job, place)
        if status in (JobStatus.ERROR, JobStatus.CANCELED):
            for later in range(place + 1, len(job.status)):
                job.status[later] = JobStatus.ERROR
                self._say(job, later)

    @staticmethod
    def _carry_out(truth: Truth, opcode: str) -> JobStatus:
        if truth.running is None:
            return JobStatus.ERROR
        truth.serial += 1
        if opcode == "OP_INSTANCE_REMOVE":
            truth.running = None
        elif opcode == "OP_INSTANCE_SHUTDOWN":
            truth.running = False
        elif opcode != "OP_INSTANCE_SET_PARAMS":
            truth.running = True
        return JobStatus.SUCCESS

    def _say(self, job: TrueJob, place: int) -> None:
        self.said.append(
            JobFact(
                "c", job.id, job.opcodes[place], f"o{job.server}", job.server, job.status[place],
                op_index=place, job_ops=len(job.opcodes),
            )
        )  # fmt: skip


@dataclass
class Row:
    """A server in the database."""

    at: Rest
    seen: tuple[str, int | None] | None = None
    operation: Operation | None = None


OPCODES = {
    "create": "OP_INSTANCE_CREATE",
    "start": "OP_INSTANCE_STARTUP",
    "stop": "OP_INSTANCE_SHUTDOWN",
    "reboot": "OP_INSTANCE_REBOOT",
    "delete": "OP_INSTANCE_REMOVE",
    "clean": "OP_INSTANCE_REMOVE",
}
WISHES = {
    ACTIVE: ["stop", "reboot", "delete"],
    STOPPED: ["start", "reboot", "delete"],
    ERROR: ["delete"],
}


class Driver:
    """Our side: what is kept, and turns that read the truth and move servers."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.rows: dict[int, Row] = {}
        self.kept: dict[Any, JobFact] = {}
        self.ended: dict[int, Job] = {}
        self.doubted: set[int] = set()
        self.suspects: set[int] = set()
        self.woken: set[int] = set()
        self.turns: dict[int, Generator[None, None, None]] = {}
        self.now = EPOCH

    def hear(self, fact: JobFact) -> None:
        """A message has come."""
        before = self.kept.get(fact.key)
        kept = self.kept[fact.key] = advance(before, fact)
        assert before is None or kept.rank >= before.rank, "a fact has regressed"
        assert not (before is not None and before.status.final) or kept.status.final
        row = self.rows.get(fact.subject_id)
        if not fact.status.final or row is None or row.at.state == DELETED:
            return
        if row.operation is None:
            self.suspects.add(fact.subject_id)
            self.woken.add(fact.subject_id)
            return
        job_id = row.operation.job_id
        about = [each for each in self.kept.values() if each.job_id == job_id]
        if len(about) != 1 or about[0].job_ops > 1 or job_id in self.doubted or job_id is None:
            return
        if about[0].status is JobStatus.SUCCESS:
            self.ended.setdefault(job_id, Job(job_id, about[0].status, told=True))
            self.woken.add(fact.subject_id)
        elif about[0].status.final:
            self._ask_for(job_id, fact.subject_id)

    def poll(self) -> None:
        """Ask the cluster for everything that may have changed."""
        for number, row in self.rows.items():
            if row.operation is not None and row.operation.job_id is not None:
                self._ask_for(row.operation.job_id, number)
                # The sweep wakes what is open from time to time.
                self.woken.add(number)
            elif row.at.charge != quota.NONE:
                seen = self.cluster.truth[number].instance(number)
                if isinstance(seen, Sight) or (seen.status, seen.serial) != row.seen:
                    self.suspects.add(number)
                    self.woken.add(number)

    def _ask_for(self, job_id: int, number: int) -> None:
        job = self.cluster.jobs[job_id].whole
        if job.status.final:
            self.ended[job_id] = job
            self.woken.add(number)

    def wish(self, number: int, kind: str, end: JobStatus) -> None:
        """Somebody asks for something; its job is submitted at once."""
        row = self.rows[number]
        row.operation = Operation(
            1, kind, SUBMITTED, 1, EPOCH + timedelta(days=365), EPOCH, server_id=number, step=kind,
            job_id=self.cluster.submit(number, [OPCODES[kind]], [end]), submitted_at=self.now,
        )  # fmt: skip

    def begin(self, number: int) -> None:
        """Begin a turn for a server that was woken."""
        self.woken.discard(number)
        self.turns[number] = self._turn(number)
        self.go_on(number)

    def go_on(self, number: int) -> None:
        """Let a turn do its next step."""
        try:
            next(self.turns[number])
        except StopIteration:
            del self.turns[number]

    def _turn(self, number: int) -> Generator[None, None, None]:
        row = self.rows[number]
        for _ in range(30):
            if row.operation is None:
                if number in self.suspects:
                    self.suspects.discard(number)
                    yield from self._observe(number, row)
                return
            if (yield from self._advance(number, row, row.operation)):
                return

    def _observe(self, number: int, row: Row) -> Generator[None, None, None]:
        yield
        seen = self.cluster.truth[number].instance(number)
        yield
        if row.operation is None:
            row.at = observed(row.at, seen)
            self._note(row, seen)

    def _advance(self, number: int, row: Row, operation: Operation) -> Generator[None, None, bool]:
        assert operation.job_id is not None
        facts = Facts(job=self.ended.get(operation.job_id))
        for _ in range(30):
            step = plan_server(operation, facts, self.now)
            yield
            if isinstance(step, Wait):
                return True
            if isinstance(step, AskInstance):
                facts = replace(facts, seen=self.cluster.truth[number].instance(number))
                yield
            elif isinstance(step, AskSiblings):
                job = self.cluster.jobs[operation.job_id].whole
                facts = replace(facts, siblings=(job,))
            elif isinstance(step, AskOwner):
                # Its creation may not have been seen to succeed: the tag alone counts.
                facts = replace(facts, owner=Owner(str(number), launched=False))
            elif isinstance(step, Confirm):
                facts = facts.confirmed(self._confirmed(operation.job_id))
            elif isinstance(step, Submit):
                end = JobStatus.SUCCESS if self.cluster.kind else JobStatus.ERROR
                job_id = self.cluster.submit(number, [OPCODES[step.step]], [end])
                row.operation = replace(
                    operation, step=step.step, attempt=step.attempt, job_id=job_id,
                    submitted_at=self.now,
                )  # fmt: skip
                return False
            else:
                assert isinstance(step, Finish) and not isinstance(step, Adopt)
                # Whatever was told or forged: nothing is closed while its job runs.
                assert self.cluster.jobs[operation.job_id].whole.status.final
                row.at = rest(operation.kind, step.end, row.at, step.seen)
                row.operation = None
                self._note(row, step.seen)
                assert step.end == SUCCEEDED or step.reason
                return False
        raise AssertionError("a turn without an end")

    def _confirmed(self, job_id: int) -> Job | None:
        job = self.cluster.jobs[job_id].whole
        if job.status.final:
            self.ended[job_id] = job
            return job
        self.ended.pop(job_id, None)
        self.doubted.add(job_id)
        return None

    @staticmethod
    def _note(row: Row, seen: Instance | Sight) -> None:
        if isinstance(seen, Instance):
            row.seen = (seen.status, seen.serial)


class World:
    """A cluster and its driver, moved by what Hypothesis draws.

    :param lies: whether there are forged messages too.
    """

    def __init__(self, data: st.DataObject, lies: bool) -> None:
        self.draw = data.draw
        self.lies = lies
        self.cluster = Cluster()
        self.driver = Driver(self.cluster)
        for number in range(1, self.draw(st.integers(1, 3), label="servers") + 1):
            begins = self.draw(st.sampled_from([ACTIVE, STOPPED, BUILDING]))
            self.cluster.truth[number] = Truth(
                {ACTIVE: True, STOPPED: False, BUILDING: None}[begins]
            )
            charge = quota.OFF if begins == STOPPED else quota.ON
            row = self.driver.rows[number] = Row(Rest(begins, charge))
            if begins == BUILDING:
                self.driver.wish(number, "create", self._end())
            else:
                self.driver._note(row, self.cluster.truth[number].instance(number))

    def _end(self) -> JobStatus:
        words = [JobStatus.SUCCESS] * 3 + [JobStatus.ERROR, JobStatus.CANCELED]
        return self.draw(st.sampled_from(words))

    def act(self) -> None:
        """One thing happens somewhere."""
        driver = self.driver
        ready = sorted(driver.woken - set(driver.turns))
        acts = ["administrator", "wish", "poll", "later"]
        acts += ["step"] * 3 if self.cluster.waiting() else []
        acts += ["message"] * 3 if self.cluster.said else []
        acts += ["lie"] * 2 if self.lies and self.cluster.said else []
        acts += ["begin"] * 2 if ready else []
        acts += ["go on"] * 3 if driver.turns else []
        act = self.draw(st.sampled_from(acts), label="act")
        if act == "step":
            self.cluster.step(self.draw(st.sampled_from(self.cluster.waiting())))
        elif act == "message":
            # Any that was ever said: late, out of order, again, or never.
            driver.hear(self.draw(st.sampled_from(self.cluster.said)))
        elif act == "lie":
            jobs = {row.operation.job_id for row in driver.rows.values() if row.operation}
            ours = [fact for fact in self.cluster.said if fact.job_id in jobs]
            fact = self.draw(st.sampled_from(ours or self.cluster.said))
            status = self.draw(st.sampled_from([JobStatus.SUCCESS, *STATUSES]))
            driver.hear(structs.replace(fact, status=status))
        elif act == "begin":
            driver.begin(self.draw(st.sampled_from(ready)))
        elif act == "go on":
            driver.go_on(self.draw(st.sampled_from(sorted(driver.turns))))
        elif act == "poll":
            driver.poll()
        elif act == "later":
            driver.now += timedelta(seconds=90)
        else:
            self._new_job(act)

    def _new_job(self, who: str) -> None:
        number = self.draw(st.sampled_from(sorted(self.driver.rows)))
        row = self.driver.rows[number]
        if who == "administrator":
            words = ["START", "SHUTDOWN", "SET_PARAMS", "REBOOT", "REMOVE"]
            drawn = self.draw(st.lists(st.sampled_from(words), min_size=1, max_size=3))
            opcodes = [f"OP_INSTANCE_{word}" for word in drawn]
            self.cluster.submit(number, opcodes, [self._end() for _ in opcodes])
        elif row.operation is None and row.at.state in WISHES:
            kind = self.draw(st.sampled_from(WISHES[row.at.state]))
            self.driver.wish(number, kind, self._end())

    def come_to_rest(self) -> None:
        """Everything ends; then the cluster is polled a last time."""
        driver = self.driver
        for _ in range(100):
            for job_id in iter(lambda: next(iter(self.cluster.waiting()), None), None):
                self.cluster.step(job_id)
            driver.now += timedelta(seconds=90)
            rests = not any(row.operation for row in driver.rows.values()) and not driver.turns
            driver.poll()
            while driver.woken or driver.turns:
                for number in sorted(driver.woken - set(driver.turns)):
                    driver.begin(number)
                for number in sorted(driver.turns):
                    driver.go_on(number)
            if rests:
                return
        raise AssertionError("it does not come to rest")

    def check(self) -> None:
        """Every server is as the cluster has it."""
        for number, row in self.driver.rows.items():
            running = self.cluster.truth[number].running
            if running is None:
                assert row.at in (Rest(DELETED, quota.NONE), Rest(ERROR, quota.NONE)), row
            else:
                wanted = Rest(ACTIVE, quota.ON) if running else Rest(STOPPED, quota.OFF)
                assert row.at == wanted, row
        for fact in self.driver.kept.values():
            assert fact.status in STATUSES


def mix(data: st.DataObject, lies: bool) -> None:
    """Let things happen in any order; in the end all is as the cluster has it."""
    world = World(data, lies)
    for _ in range(data.draw(st.integers(0, 60), label="acts")):
        world.act()
    world.come_to_rest()
    world.check()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_mixture_of_messages_and_looks_ends_at_the_truth(data: st.DataObject) -> None:
    """Messages lost, doubled, late and out of order; jobs of ours and of others."""
    mix(data, lies=False)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_forged_messages_cannot_lead_away_from_the_truth(data: st.DataObject) -> None:
    """At most somebody looks for nothing; no operation is closed before its job has ended."""
    mix(data, lies=True)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_with_all_messages_no_poll_is_needed(data: st.DataObject) -> None:
    """Heard once each, in any order, they lead to the truth by themselves."""
    world = World(data, lies=False)
    driver, cluster = world.driver, world.cluster
    heard: set[int] = set()

    def deliver() -> None:
        left = [n for n in range(len(cluster.said)) if n not in heard]
        for place in data.draw(st.permutations(left)):
            heard.add(place)
            driver.hear(cluster.said[place])

    for _ in range(data.draw(st.integers(0, 15))):
        if data.draw(st.booleans()):
            world._new_job("administrator")
        elif cluster.waiting():
            cluster.step(data.draw(st.sampled_from(cluster.waiting())))
    for _ in range(100):
        for job_id in iter(lambda: next(iter(cluster.waiting()), None), None):
            cluster.step(job_id)
        deliver()
        driver.now += timedelta(seconds=90)
        while driver.woken or driver.turns:
            for number in sorted(driver.woken - set(driver.turns)):
                driver.begin(number)
            for number in sorted(driver.turns):
                driver.go_on(number)
        if not cluster.waiting() and len(heard) == len(cluster.said):
            break
    world.check()
