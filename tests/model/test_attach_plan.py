"""The planner about interfaces: what is waited for, asked, and called a success."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cyclades_tx.model.instance import Instance, Power
from cyclades_tx.model.job import Job, JobStatus
from cyclades_tx.model.moves import UNSEEN
from cyclades_tx.model.operation import FAILED, PENDING, SUBMITTED, SUCCEEDED, Operation
from cyclades_tx.model.plan import PENDING_RESTART, plan_server
from cyclades_tx.model.step import AskInstance, Confirm, Facts, Finish, Submit, Wait

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUNNING = Instance("snf-1", "running", Power.RUNNING)
WAITS = Operation(
    id=7,
    kind="attach_port",
    state=PENDING,
    cluster_id=1,
    deadline_at=NOW + timedelta(minutes=15),
    created_at=NOW,
)
RUNS = replace(WAITS, state=SUBMITTED, step="attach_port", job_id=9)
DONE = Job(9, JobStatus.SUCCESS)


def test_attachment_waits_for_its_network_to_stand_on_the_cluster() -> None:
    """It fails when that cannot be made, and is sent when it is there."""
    assert isinstance(plan_server(WAITS, Facts(missing=("net",)), NOW), Wait)
    broken = plan_server(WAITS, Facts(missing=("net",), broken="No bridge."), NOW)
    assert broken == Finish(FAILED, "No bridge.", UNSEEN)
    assert plan_server(WAITS, Facts(), NOW) == Submit("attach_port", 0)


@pytest.mark.parametrize("kind", ["attach_port", "detach_port"])
def test_told_end_is_confirmed_since_only_the_cluster_knows_of_the_machine(kind: str) -> None:
    """A message has nothing about what the running machine made of it."""
    told = Facts(job=replace(DONE, told=True), seen=RUNNING)
    assert plan_server(replace(RUNS, kind=kind), told, NOW) == Confirm()


@pytest.mark.parametrize("kind", ["attach_port", "detach_port"])
def test_change_that_the_running_machine_did_not_notice_waits_for_its_restart(kind: str) -> None:
    """The job's success alone is none; the instance is looked at first."""
    operation = replace(RUNS, kind=kind)
    job = replace(DONE, pending_restart=True)
    assert plan_server(operation, Facts(job=job), NOW) == AskInstance()
    assert plan_server(operation, Facts(job=job, seen=RUNNING), NOW) == Finish(
        SUCCEEDED, PENDING_RESTART, RUNNING, pending_restart=True
    )
    assert plan_server(operation, Facts(job=DONE, seen=RUNNING), NOW) == Finish(
        SUCCEEDED, seen=RUNNING
    )
