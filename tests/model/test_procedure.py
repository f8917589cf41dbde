"""Procedures: which step follows which, forward and back, whatever fails."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclades_tx.model import procedure
from cyclades_tx.model.instance import Instance, Power
from cyclades_tx.model.job import Job, JobStatus
from cyclades_tx.model.moves import ABSENT, UNSEEN
from cyclades_tx.model.operation import FAILED, SUCCEEDED, Operation
from cyclades_tx.model.plan import plan_refused, plan_server
from cyclades_tx.model.step import AskInstance, AskSecret, AskSiblings, Facts, Finish, Submit, Wait

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUNNING = {"running": True, "start": True, "grow_gib": 0}
GROWING = {**RUNNING, "grow_gib": 8}
DOWN = {"running": False, "start": False, "grow_gib": 0}
RESCUED_FROM_DOWN = {"running": False, "start": True}


@pytest.mark.parametrize(
    ("kind", "arguments", "steps"),
    [
        ("resize", RUNNING, ("stop", "set", "start")),
        ("resize", GROWING, ("stop", "set", "grow", "start")),
        ("resize", DOWN, ("set",)),
        ("rescue", RESCUED_FROM_DOWN, ("set", "start")),
        ("unrescue", RUNNING, ("stop", "set", "start")),
        ("rebuild", {"start": True}, ("parameters", "install")),
    ],
)
def test_a_procedure_goes_through_its_steps(
    kind: str, arguments: dict[str, Any], steps: tuple[str, ...]
) -> None:
    """In order, and no more than it needs."""
    assert procedure.forward(kind, arguments) == steps
    assert procedure.first(kind, arguments) == steps[0]
    for step, after in zip(steps, (*steps[1:], None), strict=True):
        assert procedure.following(kind, arguments, step, True) == after


@pytest.mark.parametrize(
    ("kind", "arguments", "step", "after"),
    [
        ("resize", RUNNING, "stop", None),
        ("resize", RUNNING, "set", "restart"),
        ("resize", DOWN, "set", None),
        ("resize", GROWING, "grow", "unset"),
        ("resize", RUNNING, "start", "unset"),
        ("resize", RUNNING, "unset", "restart"),
        ("resize", DOWN, "unset", None),
        ("resize", RUNNING, "restart", None),
        ("rescue", RESCUED_FROM_DOWN, "start", "unset"),
        ("rescue", RESCUED_FROM_DOWN, "unset", None),
        ("rebuild", {"start": True}, "parameters", None),
        ("rebuild", {"start": True}, "install", None),
    ],
)
def test_the_way_back_takes_back_what_was_done(
    kind: str, arguments: dict[str, Any], step: str, after: str | None
) -> None:
    """A machine that ran runs again, of its old size."""
    assert procedure.following(kind, arguments, step, False) == after


def test_an_unknown_step_is_the_last() -> None:
    """Another release may have named it; the operation ends instead of going in circles."""
    assert procedure.following("resize", RUNNING, "polish", True) is None
    assert procedure.following("resize", RUNNING, "polish", False) is None


@dataclass
class Machine:
    """A machine whose jobs end as Hypothesis wants."""

    running: bool
    changed: bool = False
    grown: bool = False

    def do(self, step: str) -> None:
        """What a successful job of a step does."""
        if step == "stop":
            self.running = False
        elif step in ("start", "restart"):
            self.running = True
        elif step in ("set", "unset"):
            assert not self.running, "the change needs a stopped machine"
            self.changed = step == "set"
        elif step == "grow":
            self.grown = True


@given(st.data())
def test_whatever_fails_a_procedure_ends_whole_or_taken_back(data: st.DataObject) -> None:
    """Unless taking back fails too; then what could not be put back is told."""
    kind = data.draw(st.sampled_from(("resize", "rescue", "unrescue")))
    running = data.draw(st.booleans())
    arguments = {
        "running": running,
        "start": running or kind != "resize",
        "grow_gib": data.draw(st.sampled_from((0, 8))) if kind == "resize" else 0,
    }
    machine = Machine(running)
    step: str | None = procedure.first(kind, arguments)
    failed: list[str] = []
    passed = 0
    while step is not None:
        passed += 1
        assert passed <= 7, "it goes in circles"
        done = data.draw(st.booleans())
        if done:
            machine.do(step)
        else:
            failed.append(step)
        step = procedure.following(kind, arguments, step, done)
    if not failed:
        assert machine.changed and machine.running == arguments["start"]
    elif not set(failed) & procedure.BACKWARD:
        assert (machine.running, machine.changed) == (running, False)


# The planner


def an_operation(step: str = "", **changes: Any) -> Operation:
    """A resize of a running server, whose job 3 was sent for a step."""
    sent = {"state": "submitted", "job_id": 3} if step else {"state": "pending"}
    return replace(
        Operation(
            id=7,
            kind="resize",
            state="",
            cluster_id=1,
            deadline_at=NOW + timedelta(minutes=15),
            created_at=NOW,
            arguments=dict(GROWING),
            step=step,
        ),
        **{**sent, **changes},
    )


DONE = Job(3, JobStatus.SUCCESS)
BROKEN = Job(3, JobStatus.ERROR, message="no such luck")
SEEN = Instance("snf-1", "ADMIN_down", Power.STOPPED)


def test_the_first_step_is_sent_and_then_each_after_the_other() -> None:
    """Nobody looks at the instance in between."""
    assert plan_server(an_operation(), Facts(), NOW) == Submit("stop", 0)
    assert plan_server(an_operation("stop"), Facts(job=DONE), NOW) == Submit("set", 0)
    assert plan_server(an_operation("start"), Facts(job=DONE), NOW) == AskInstance()
    last = plan_server(an_operation("start"), Facts(job=DONE, seen=SEEN), NOW)
    assert last == Finish(SUCCEEDED, seen=SEEN)


def test_a_failed_step_leads_back_and_its_reason_to_the_end() -> None:
    """What is told is why it failed, not that taking back succeeded."""
    facts = Facts(job=BROKEN, siblings=(BROKEN,))
    assert plan_server(an_operation("grow"), facts, NOW) == AskInstance()
    back = plan_server(an_operation("grow"), replace(facts, seen=SEEN), NOW)
    assert back == Submit("unset", 0, "no such luck")
    operation = an_operation("restart", arguments={**GROWING, "failure": "no such luck"})
    end = plan_server(operation, Facts(job=DONE, seen=SEEN), NOW)
    assert end == Finish(FAILED, "no such luck", SEEN)


def test_what_could_not_be_put_back_is_told() -> None:
    """Both reasons, the first one first."""
    operation = an_operation("restart", arguments={**GROWING, "failure": "first."})
    end = plan_server(operation, Facts(job=BROKEN, siblings=(BROKEN,), seen=SEEN), NOW)
    assert isinstance(end, Finish)
    assert end.reason == "first. It could not be put back: no such luck"


def test_an_instance_that_is_gone_ends_a_procedure() -> None:
    """There is nothing to take back."""
    facts = Facts(job=BROKEN, siblings=(BROKEN,), seen=ABSENT)
    assert plan_server(an_operation("set"), facts, NOW) == Finish(FAILED, "no such luck", ABSENT)


def test_a_waiting_delete_ends_a_procedure_after_its_step() -> None:
    """Neither on nor back: the machine is about to go."""
    facts = Facts(job=DONE, deleted=True)
    assert plan_server(an_operation("stop"), facts, NOW) == AskInstance()
    end = plan_server(an_operation("stop"), replace(facts, seen=SEEN), NOW)
    assert end == Finish(FAILED, "Its deletion came in between.", SEEN)
    facts = Facts(job=BROKEN, siblings=(BROKEN,), seen=SEEN, deleted=True)
    assert plan_server(an_operation("set"), facts, NOW) == Finish(FAILED, "no such luck", SEEN)


def test_taking_back_has_some_time_beyond_the_deadline() -> None:
    """But not for ever."""
    late = NOW + timedelta(minutes=16)
    running = Facts(job=Job(3, JobStatus.RUNNING))
    assert isinstance(plan_server(an_operation("grow"), running, late), Finish)
    assert isinstance(plan_server(an_operation("unset"), running, late), Wait)
    too_late = late + procedure.BACK_TIME
    assert isinstance(plan_server(an_operation("unset"), running, too_late), Finish)


def test_a_lost_answer_is_searched_for_before_a_step_is_sent_again() -> None:
    """Each step by the reason of its own."""
    operation = an_operation("grow", state="submitting", job_id=None)
    assert plan_server(operation, Facts(), NOW) == AskSiblings()
    assert operation.trail() == "cyclades:op:7:grow.0"
    assert plan_server(operation, Facts(siblings=()), NOW) == Submit("grow", 0)


def test_a_refused_step_leads_back_too() -> None:
    """The first one just ends it."""
    assert plan_refused(an_operation("stop"), "no") == Finish(FAILED, "no", UNSEEN)
    assert plan_refused(an_operation("set"), "no") == Submit("restart", 0, "no")
    operation = an_operation("restart", arguments={**GROWING, "failure": "first."})
    end = plan_refused(operation, "no")
    assert end == Finish(FAILED, "first. It could not be put back: no", UNSEEN)


def test_a_rebuild_begins_only_with_its_secrets() -> None:
    """Without them nothing is touched."""
    operation = an_operation(kind="rebuild", arguments={"start": True})
    assert plan_server(operation, Facts(), NOW) == AskSecret()
    assert plan_server(operation, Facts(secret_there=True), NOW) == Submit("parameters", 0)
    lost = plan_server(operation, Facts(secret_there=False), NOW)
    assert isinstance(lost, Finish)
    assert (lost.end, lost.seen) == (FAILED, UNSEEN)
    assert lost.reason.endswith("rebuild it again.")
    told = replace(operation, state="submitted", job_id=3, step="parameters")
    assert plan_server(told, Facts(job=DONE), NOW) == AskSecret()
    kept = Facts(job=DONE, secret_there=True)
    assert plan_server(told, kept, NOW) == Submit("install", 0)
    gone = Facts(job=DONE, secret_there=False, seen=SEEN)
    assert plan_server(told, gone, NOW) == Finish(FAILED, lost.reason, SEEN)
