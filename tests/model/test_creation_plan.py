"""The planner about servers that boot from a disk that is there already: it is never lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyclades_tx.model import creation
from cyclades_tx.model.creation import PUT_ON
from cyclades_tx.model.instance import Instance, Power
from cyclades_tx.model.job import Job, JobStatus
from cyclades_tx.model.moves import ABSENT, UNSEEN
from cyclades_tx.model.operation import FAILED, SUCCEEDED, Operation
from cyclades_tx.model.plan import plan_refused, plan_server
from cyclades_tx.model.procedure import START, STOP
from cyclades_tx.model.step import CLEAN, LET_GO, AskInstance, AskOwner, Facts, Finish, Submit, Wait
from tests.model.test_plan import DEADLINE, NOW, OWNER, RUNNING, World, an_operation

KEPT = creation.arguments(installs=False, puts_on=True)
BLANK = creation.arguments(installs=False, puts_on=False)
STOPPED = Instance("snf-1", "ADMIN_down", Power.STOPPED)
DONE, BROKEN = Job(9, JobStatus.SUCCESS), Job(9, JobStatus.ERROR, message="No.")
ON = Facts(job=BROKEN, siblings=(), seen=STOPPED, owner=OWNER, outliving=("d",))
OFF = replace(ON, outliving=())


def at(step: str, arguments: dict[str, object] = KEPT, **more: object) -> Operation:
    """A creation whose job for a step was accepted."""
    more.setdefault("state", "submitted")
    return an_operation("create", step=step, job_id=9, arguments=arguments, **more)


def test_steps_follow_from_what_the_server_boots_from() -> None:
    """An image is one job, a blank volume two, one with a disk three."""
    for arguments, steps in (
        ({}, []),
        (BLANK, [START]),
        (KEPT, [PUT_ON, START]),
        (creation.arguments(installs=True, puts_on=False), []),
    ):
        step, taken = creation.following(arguments, "create"), []
        while step is not None:
            taken.append(step)
            step = creation.following(arguments, step)
        assert taken == steps


@pytest.mark.parametrize("arguments", [KEPT, BLANK], ids=["kept", "blank"])
def test_nothing_is_installed_so_no_secret_is_asked_for(arguments: dict[str, object]) -> None:
    """The first job is sent at once, and the next when an instance was seen."""
    fresh = an_operation("create", arguments=arguments)
    assert plan_server(fresh, Facts(), NOW) == Submit("create", 0)
    made = Facts(job=DONE)
    assert plan_server(at("create", arguments), made, NOW) == AskInstance()
    after = PUT_ON if arguments is KEPT else START
    seen = replace(made, seen=STOPPED)
    assert plan_server(at("create", arguments), seen, NOW) == Submit(after, 0)
    assert plan_server(at(START, arguments), replace(made, seen=RUNNING), NOW) == Finish(
        SUCCEEDED, seen=RUNNING
    )


def test_deletion_in_between_takes_over() -> None:
    """What is on the instance by then is left to it."""
    for step in ("create", PUT_ON):
        end = plan_server(at(step), Facts(job=DONE, seen=STOPPED, deleted=True), NOW)
        assert isinstance(end, Finish)
        assert (end.end, end.seen) == (FAILED, UNSEEN)


def test_failed_step_gives_the_disk_back_before_the_instance_is_removed() -> None:
    """It is stopped first, if it runs; the reason is kept from the first failure on."""
    assert plan_server(at(PUT_ON), replace(OFF, owner=None), NOW) == AskOwner()
    assert plan_server(at(PUT_ON), OFF, NOW) == Submit(CLEAN, 0, "No.")
    assert plan_server(at(PUT_ON), ON, NOW) == Submit(LET_GO, 0, "No.", disk="d")
    runs = replace(ON, seen=RUNNING)
    assert plan_server(at(START), runs, NOW) == Submit(STOP, 0, "No.")
    still = replace(ON, job=DONE)
    assert plan_server(at(STOP), still, NOW) == Submit(LET_GO, 0, disk="d")
    assert plan_server(at(LET_GO), replace(OFF, job=DONE), NOW) == Submit(CLEAN, 0)
    more = replace(still, outliving=("e",))
    assert plan_server(at(LET_GO), more, NOW) == Submit(LET_GO, 1, disk="e")


def test_disk_that_does_not_come_off_keeps_the_instance() -> None:
    """It is tried again after a pause, and left at the deadline."""
    sent = at(LET_GO, {**KEPT, "failure": "It broke."}, submitted_at=NOW)
    assert isinstance(plan_server(sent, ON, NOW), Wait)
    later = NOW + timedelta(minutes=2)
    assert plan_server(sent, ON, later) == Submit(LET_GO, 1, disk="d")
    assert plan_server(sent, ON, NOW + DEADLINE) == Finish(FAILED, "It broke.", STOPPED)
    gone = replace(ON, seen=ABSENT, outliving=())
    assert plan_server(sent, gone, NOW) == Finish(FAILED, "It broke.", ABSENT)


def test_lost_answer_is_looked_for_before_anything_is_sent_again() -> None:
    """Also where the cluster has no such job."""
    long_ago = NOW - timedelta(minutes=1)
    asked = {"state": "submitting", "submitted_at": long_ago}
    nothing = Facts(siblings=())
    assert plan_server(at(PUT_ON, **asked), nothing, NOW) == Submit(PUT_ON, 0)
    leaving = at(LET_GO, {**KEPT, "failure": "It broke."}, **asked)
    assert plan_server(leaving, nothing, NOW) == AskInstance()
    assert plan_server(leaving, replace(ON, job=None), NOW) == Submit(LET_GO, 0, disk="d")
    assert plan_server(leaving, replace(OFF, job=None), NOW) == Submit(CLEAN, 0)
    gone = replace(nothing, seen=ABSENT)
    assert plan_server(leaving, gone, NOW) == Finish(FAILED, "It broke.", ABSENT)
    late = NOW + DEADLINE
    assert plan_server(leaving, nothing, late) == Finish(FAILED, "It broke.")
    end = plan_server(at(PUT_ON, **asked), nothing, late)
    assert isinstance(end, Finish)
    assert end.seen is UNSEEN  # there is an instance


def test_forgotten_job_is_judged_by_what_is_seen() -> None:
    """The disk is on the instance, or it is not."""
    forgotten = Job(9, JobStatus.UNKNOWN)
    assert plan_server(at(PUT_ON), replace(ON, job=forgotten), NOW) == Submit(START, 0)
    back = plan_server(at(PUT_ON), replace(OFF, job=forgotten), NOW)
    assert isinstance(back, Submit)
    assert back.step == CLEAN


def test_refused_step_removes_only_what_has_no_data() -> None:
    """With the disk on it the instance stays, for its owner to delete."""
    assert plan_refused(at(PUT_ON), "No.") == Submit(CLEAN, 0, "No.")
    assert plan_refused(at(START), "No.") == Finish(FAILED, "No.")


class Shelf(World):
    """The world with a disk: on the shelf, on the instance, or destroyed with it."""

    disk = "shelf"
    running = False

    def ended(self, job: Job, step: str) -> Job:
        if step == PUT_ON and self.instances:
            if self.disk == "on":
                return replace(job, status=JobStatus.ERROR, message="is attached already")
            if self.pick("success", "error", "error after all") == "error":
                return replace(job, status=JobStatus.ERROR, message="the node did not answer")
            self.disk = "on"
            end = self.pick("success", "error")
            return replace(job, status=JobStatus(end), message="" if end == "success" else "late")
        if step == LET_GO and self.instances and self.disk == "on":
            if self.pick("success", "error") == "error":
                return replace(job, status=JobStatus.ERROR, message="the node did not answer")
            assert not self.running
            self.disk = "shelf"
            return replace(job, status=JobStatus.SUCCESS)
        ended = super().ended(job, step)
        if ended.status is JobStatus.SUCCESS and step in (START, STOP):
            self.running = step == START
        if not self.instances and self.disk == "on":
            self.disk = "destroyed"
        return ended

    def look(self, facts: Facts) -> Facts:
        if not self.instances:
            return replace(facts, seen=ABSENT)
        on = ("d",) if self.disk == "on" else ()
        return replace(facts, seen=RUNNING if self.running else STOPPED, outliving=on)

    def submit(self, step: Submit) -> None:
        if step.failure:
            kept = {**self.operation.arguments, "failure": step.failure}
            self.operation = replace(self.operation, arguments=kept)
        state = self.operation.state
        super().submit(step)
        if self.operation.state == "pending" and state != "pending":
            # What was sent before is never as if nothing had been.
            self.operation = replace(self.operation, state="submitting")


@settings(max_examples=400, deadline=None)
@given(chance=st.data())
def test_disk_survives_whatever_happens_to_a_creation(chance: st.DataObject) -> None:
    """It is on the machine that runs, or where it was; an instance that was removed had none."""
    world = Shelf(an_operation("create", arguments=KEPT), False, chance)
    for _ in range(80):
        world.turn()
        assert world.instances <= 1
        assert world.disk != "destroyed"
        if world.finished is not None:
            break
        world.run_jobs()
        world.now += timedelta(seconds=7)
    else:
        return  # only luck kept it from ending
    if world.finished.end == SUCCEEDED:
        assert (world.instances, world.disk, world.running) == (1, "on", True)
    elif world.finished.seen is ABSENT:
        assert (world.instances, world.disk) == (0, "shelf")
