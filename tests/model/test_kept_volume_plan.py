"""Whatever goes wrong on the way, a kept volume's disk is removed, or grown, or left as it was."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclades_tx.model import kept_volume_plan as plan
from cyclades_tx.model.instance import Instance, Power, SeenDisk
from cyclades_tx.model.job import Job, JobStatus
from cyclades_tx.model.kept_volume_plan import DELETE, EXTEND, VolumeFacts, plan_kept_volume
from cyclades_tx.model.moves import ABSENT
from cyclades_tx.model.operation import (
    FAILED,
    PENDING,
    SUBMITTED,
    SUBMITTING,
    SUCCEEDED,
    Operation,
)
from cyclades_tx.model.step import Adopt, AskInstance, AskSiblings, Confirm, Finish, Submit, Wait

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MOST_TURNS = 200

#: What becomes of a request: done, its job fails, it never arrives, its answer is lost, or the
#: process is killed before or after it.
DONE, FAILS, UNSENT, LOST = "done", "fails", "unsent", "lost"


@dataclass
class World:
    """A cluster with one disk, and whoever carries out the plan on it.

    :ivar size_mib: of the disk; None: it is gone.
    :ivar held: whether the holder has it.
    """

    operation: Operation
    size_mib: int | None = 1024
    holder: bool = False
    held: bool = False
    now: datetime = NOW
    jobs: dict[str, list[Job]] = field(default_factory=dict)
    job: Job | None = None
    sent: int = 0

    def run(self, fates: list[str]) -> Finish:
        """Take steps until the operation is over; each request has the next fate."""
        for _ in range(MOST_TURNS):
            facts = VolumeFacts(job=self.job)
            while True:
                step = plan_kept_volume(self.operation, facts, self.now)
                if isinstance(step, AskSiblings):
                    found = self.jobs.get(self.operation.trail(), [])
                    facts = replace(facts, siblings=tuple(found))
                elif isinstance(step, AskInstance):
                    facts = self.look(facts)
                else:
                    break
            if isinstance(step, Finish):
                return step
            if isinstance(step, Wait):
                self.now += timedelta(seconds=step.seconds)
            elif isinstance(step, Adopt):
                jobs = [job for many in self.jobs.values() for job in many]
                self.job = next(job for job in jobs if job.id == step.job_id)
                self.operation = replace(self.operation, state=SUBMITTED, job_id=step.job_id)
            else:
                assert isinstance(step, Submit), step
                self.submit(step, fates.pop(0) if fates else DONE)
        raise AssertionError("there is no end")

    def look(self, facts: VolumeFacts) -> VolumeFacts:
        """The holder as it is."""
        if not self.holder:
            return replace(facts, seen=ABSENT)
        disk = SeenDisk("snf-vol-1", self.size_mib or 0, "u") if self.held else None
        seen = Instance("snf-hold-1", "ADMIN_down", Power.STOPPED)
        return replace(facts, seen=seen, own=True, disk=disk)

    def submit(self, step: Submit, fate: str) -> None:
        """Send a request."""
        more = {"failure": step.failure} if step.failure else {}
        self.operation = replace(
            self.operation,
            state=SUBMITTING,
            step=step.step,
            attempt=step.attempt,
            job_id=None,
            submitted_at=self.now,
            arguments={**self.operation.arguments, **more},
        )
        self.job = None
        if fate == UNSENT:
            return
        self.sent += 1
        why = "it was told to fail" if fate == FAILS else self.carry_out(step.step)
        status = JobStatus.ERROR if why else JobStatus.SUCCESS
        job = Job(self.sent, status, message=why)
        self.jobs.setdefault(self.operation.trail(), []).append(job)
        if fate != LOST:
            self.job = job
            self.operation = replace(self.operation, state=SUBMITTED, job_id=job.id)

    def carry_out(self, step: str) -> str:
        """Do it, as Ganeti does; why it cannot be done."""
        if step == plan.MAKE:
            if self.holder:
                return "already in the cluster"
            self.holder = True
        elif not self.holder:
            return "not known"
        elif step == plan.HOLD:
            if self.size_mib is None or self.held:
                return "No disk was found with this UUID: u"
            self.held = True
        elif step in (plan.GROW, plan.PUT_BACK):
            assert self.held, f"{step} without the disk"
            if step == plan.GROW:
                self.size_mib = self.operation.arguments["size_gib"] * 1024
            else:
                self.held = False
        else:
            assert step in (plan.REMOVE, plan.CLEAR)
            assert self.held == (step == plan.REMOVE), f"{step} with another holder"
            if self.held:
                self.size_mib = None
            self.holder = self.held = False
        return ""


def begun(kind: str, gone: bool = False) -> World:
    """An operation that waits."""
    arguments = {"size_gib": 3} if kind == EXTEND else {}
    operation = Operation(
        7, kind, PENDING, 1, NOW + timedelta(hours=1), NOW, volume_id=1, arguments=arguments
    )
    return World(operation, None if gone else 1024)


FATES = st.lists(st.sampled_from((DONE, DONE, FAILS, UNSENT, LOST)), max_size=25)


@given(FATES)
def test_a_disk_that_grows_is_never_lost(fates: list[str]) -> None:
    """It ends as large as it should be, or as it was, or still held; and the next try works."""
    world = begun(EXTEND)
    end = world.run(list(fates))
    assert world.size_mib in (1024, 3072)
    if end.end == SUCCEEDED:
        assert (world.size_mib, world.holder) == (3072, False)
    else:
        assert end.reason
    again = replace(begun(EXTEND), size_mib=world.size_mib, holder=world.holder, held=world.held)
    assert again.run([]).end == SUCCEEDED
    assert (again.size_mib, again.holder) == (3072, False)


@given(FATES)
def test_a_disk_is_gone_when_its_volume_is(fates: list[str]) -> None:
    """And no holder is left; what failed can be tried again until it is."""
    world = begun(DELETE)
    end = world.run(list(fates))
    if end.end == SUCCEEDED:
        assert (world.size_mib, world.holder) == (None, False)
    else:
        assert end.reason
    again = replace(begun(DELETE), size_mib=world.size_mib, holder=world.holder, held=world.held)
    assert again.run([]).end == SUCCEEDED
    assert (again.size_mib, again.holder) == (None, False)


def test_what_there_is_to_do_when_all_goes_well() -> None:
    """Each step once."""
    for kind, steps in ((DELETE, 3), (EXTEND, 5)):
        world = begun(kind)
        assert world.run([]).end == SUCCEEDED
        assert world.sent == steps


def test_a_disk_that_is_gone_is_deleted_and_does_not_grow() -> None:
    """By what Ganeti says."""
    assert begun(DELETE, gone=True).run([]).end == SUCCEEDED
    end = begun(EXTEND, gone=True).run([])
    assert (end.end, end.reason) == (FAILED, "No disk was found with this UUID: u")


@pytest.mark.parametrize("kind", [DELETE, EXTEND])
def test_after_the_deadline_only_what_was_begun_is_ended(kind: str) -> None:
    """Nothing that waits is begun; a disk that is held is put back, or goes, as it should."""
    late = begun(kind)
    late.now = late.operation.deadline_at
    assert late.run([]).end == FAILED
    assert late.sent == 0
    half = begun(kind)
    half.holder = half.held = True
    half.operation = replace(half.operation, state=SUBMITTED, step=plan.HOLD, job_id=1)
    half.job = Job(1, JobStatus.SUCCESS)
    half.now = half.operation.deadline_at
    end = half.run([])
    assert (end.end, half.holder) == (SUCCEEDED if kind == DELETE else FAILED, False)
    assert half.size_mib == (None if kind == DELETE else 1024)


def test_a_job_that_does_not_end_is_given_up_at_the_deadline() -> None:
    """And is told to stop."""
    world = begun(DELETE)
    waiting = replace(world.operation, state=SUBMITTED, step=plan.MAKE, job_id=5)
    step = plan_kept_volume(waiting, VolumeFacts(), NOW)
    assert isinstance(step, Wait)
    step = plan_kept_volume(waiting, VolumeFacts(), world.operation.deadline_at)
    assert isinstance(step, Finish)
    assert (step.end, step.cancel_job) == (FAILED, 5)


def test_a_message_alone_ends_no_step() -> None:
    """The cluster itself is asked."""
    world = begun(DELETE)
    sent = replace(world.operation, state=SUBMITTED, step=plan.MAKE, job_id=5)
    told = Job(5, JobStatus.SUCCESS, told=True)
    assert isinstance(plan_kept_volume(sent, VolumeFacts(job=told), NOW), Confirm)


def test_what_is_not_known_to_be_ours_is_left_alone() -> None:
    """It may be another installation's."""
    world = begun(DELETE)
    seen = Instance("snf-hold-1", "ADMIN_down", Power.STOPPED)
    step = plan_kept_volume(world.operation, VolumeFacts(seen=seen, own=False), NOW)
    assert isinstance(step, Finish)
    assert step.end == FAILED
