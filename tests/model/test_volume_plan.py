"""The planner about volumes: what is looked at, taken off, and called a success."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cyclades_tx.model.instance import Instance, Power
from cyclades_tx.model.job import Job, JobStatus
from cyclades_tx.model.moves import ABSENT
from cyclades_tx.model.operation import (
    FAILED,
    PENDING,
    SUBMITTED,
    SUBMITTING,
    SUCCEEDED,
    Operation,
)
from cyclades_tx.model.ownership import Owner
from cyclades_tx.model.plan import PENDING_RESTART, plan_server
from cyclades_tx.model.step import LET_GO, AskInstance, Facts, Finish, Submit

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUNNING = Instance("snf-1", "running", Power.RUNNING)
STOPPED = Instance("snf-1", "ADMIN_down", Power.STOPPED)
OWN = Owner("u", launched=True)
WAITS = Operation(
    id=7,
    kind="delete",
    state=PENDING,
    cluster_id=1,
    deadline_at=NOW + timedelta(minutes=15),
    created_at=NOW,
)
DONE = Job(9, JobStatus.SUCCESS)
BROKEN = Job(9, JobStatus.ERROR, message="No.")


def test_delete_without_volumes_that_outlive_the_server_is_one_step() -> None:
    """However it runs."""
    assert plan_server(WAITS, Facts(seen=RUNNING, owner=OWN), NOW) == Submit("delete", 0)


def test_machine_stands_still_before_its_disks_leave_it() -> None:
    """Then each leaves by a job of its own, and the instance is removed last."""
    both = Facts(seen=RUNNING, owner=OWN, outliving=("d1", "d2"))
    assert plan_server(WAITS, both, NOW) == Submit("stop", 0)
    stopping = replace(WAITS, state=SUBMITTED, step="stop", job_id=9)
    assert plan_server(stopping, Facts(job=DONE), NOW) == AskInstance()
    still = replace(both, job=DONE, seen=STOPPED)
    assert plan_server(stopping, still, NOW) == Submit(LET_GO, 0, disk="d1")
    leaving = replace(stopping, step=LET_GO)
    one = replace(still, outliving=("d2",))
    assert plan_server(leaving, one, NOW) == Submit(LET_GO, 1, disk="d2")
    none = replace(still, outliving=())
    assert plan_server(replace(leaving, attempt=1), none, NOW) == Submit("delete", 0)


@pytest.mark.parametrize("step", ["stop", LET_GO])
def test_delete_that_cannot_free_a_disk_removes_nothing(step: str) -> None:
    """It ends as failed; an instance that is gone is gone."""
    operation = replace(WAITS, state=SUBMITTED, step=step, job_id=9)
    facts = Facts(job=BROKEN, siblings=(), seen=STOPPED, outliving=("d1",))
    assert plan_server(operation, facts, NOW) == Finish(FAILED, "No.", STOPPED)
    gone = Finish(SUCCEEDED, seen=ABSENT)
    assert plan_server(operation, replace(facts, seen=ABSENT), NOW) == gone


def test_lost_answer_to_a_leaving_is_looked_at_before_it_is_sent_again() -> None:
    """A disk that has left is not taken off twice."""
    sent = replace(WAITS, state=SUBMITTING, step=LET_GO, submitted_at=NOW - timedelta(minutes=1))
    facts = Facts(siblings=())
    assert plan_server(sent, facts, NOW) == AskInstance()
    there = replace(facts, seen=STOPPED, outliving=("d1",))
    assert plan_server(sent, there, NOW) == Submit(LET_GO, 0, disk="d1")
    assert plan_server(sent, replace(there, outliving=()), NOW) == Submit("delete", 0)
    assert plan_server(sent, replace(facts, seen=ABSENT), NOW) == Finish(SUCCEEDED, "", ABSENT)


@pytest.mark.parametrize("state", [PENDING, SUBMITTING])
def test_volume_grows_by_its_place_on_the_instance(state: str) -> None:
    """So that is looked at first, also before a second try."""
    operation = replace(
        WAITS, kind="extend_volume", state=state, submitted_at=NOW - timedelta(minutes=1),
        step="" if state == PENDING else "extend_volume",
    )  # fmt: skip
    facts = Facts(siblings=())
    assert plan_server(operation, facts, NOW) == AskInstance()
    seen = replace(facts, seen=RUNNING)
    assert plan_server(operation, seen, NOW) == Submit("extend_volume", 0)
    end = plan_server(operation, replace(facts, seen=ABSENT), NOW)
    assert isinstance(end, Finish)
    assert (end.end, end.seen) == (FAILED, ABSENT)


@pytest.mark.parametrize("kind", ["attach_volume", "detach_volume", "extend_volume"])
def test_end_of_a_change_is_what_is_seen(kind: str) -> None:
    """Whether the job says that it succeeded or not; the running machine may have missed it."""
    operation = replace(WAITS, kind=kind, state=SUBMITTED, step=kind, job_id=9)
    assert plan_server(operation, Facts(job=DONE), NOW) == AskInstance()
    done = Finish(SUCCEEDED, seen=RUNNING)
    assert plan_server(operation, Facts(job=DONE, seen=RUNNING), NOW) == done
    missed = Facts(job=replace(DONE, pending_restart=True), seen=RUNNING)
    waits = Finish(SUCCEEDED, PENDING_RESTART, RUNNING, pending_restart=True)
    assert plan_server(operation, missed, NOW) == waits
    broken = Facts(job=BROKEN, siblings=(), seen=RUNNING)
    assert plan_server(operation, broken, NOW) == Finish(FAILED, "No.", RUNNING)
