"""The planner about firewall tags: set before an interface comes, removed after it went."""

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
from cyclades_tx.model.plan import plan_server
from cyclades_tx.model.step import TAG, UNTAG, AskInstance, AskSiblings, Facts, Finish, Submit

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CLOSED = "synnefo:network:snf-nic-1:protected"
LIMITED = "synnefo:network:snf-nic-1:limited"
WAITS = Operation(
    id=7,
    kind="firewall",
    state=PENDING,
    cluster_id=1,
    deadline_at=NOW + timedelta(minutes=15),
    created_at=NOW,
)
DONE = Job(9, JobStatus.SUCCESS)
WRONG = Job(9, JobStatus.ERROR, message="no")


def at(step: str, kind: str = "firewall") -> Operation:
    """The operation while a job of it runs."""
    return replace(WAITS, kind=kind, state=SUBMITTED, step=step, job_id=9)


def seen(*tags: str) -> Instance:
    """A running machine with these tags."""
    return Instance("snf-1", "running", Power.RUNNING, tags=tags)


def wanted(profile: str) -> dict[str, str]:
    """What the only interface should have."""
    return {"snf-nic-1": profile}


def test_new_tag_comes_before_the_old_one_goes() -> None:
    """So that nothing is open in between; each is one job."""
    before, both, after = seen(LIMITED), seen(LIMITED, CLOSED), seen(CLOSED)
    facts = Facts(firewall=wanted("ENABLED"))
    assert plan_server(WAITS, facts, NOW) == AskInstance()
    assert plan_server(WAITS, replace(facts, seen=before), NOW) == Submit(TAG, 0, tags=(CLOSED,))
    done = replace(facts, job=DONE, seen=both)
    assert plan_server(at(TAG), replace(facts, job=DONE), NOW) == AskInstance()
    assert plan_server(at(TAG), done, NOW) == Submit(UNTAG, 0, tags=(LIMITED,))
    assert plan_server(at(UNTAG), replace(done, seen=after), NOW) == Finish(SUCCEEDED, seen=after)


@pytest.mark.parametrize("there", [seen(), ABSENT])
def test_nothing_is_sent_when_nothing_is_wrong(there: Instance) -> None:
    """Also when the machine is gone."""
    facts = Facts(firewall=wanted("DISABLED"), seen=there)
    assert plan_server(WAITS, facts, NOW) == Finish(SUCCEEDED, seen=there)


def test_no_step_is_done_twice() -> None:
    """What somebody takes away meanwhile is theirs to take."""
    facts = Facts(firewall=wanted("ENABLED"), job=DONE, seen=seen())
    for step in (TAG, UNTAG):
        assert plan_server(at(step), facts, NOW) == Finish(SUCCEEDED, seen=seen())


def test_failed_job_fails_the_operation() -> None:
    """With what the machine has then."""
    facts = Facts(firewall=wanted("ENABLED"), job=WRONG, siblings=(), seen=seen())
    end = plan_server(at(TAG), facts, NOW)
    assert isinstance(end, Finish)
    assert (end.end, end.seen) == (FAILED, seen())


def test_interface_gets_its_tag_before_it_comes() -> None:
    """The hosts read it when the interface comes up; open ones need none."""
    waits = replace(WAITS, kind="attach_port")
    closed = Facts(firewall=wanted("ENABLED"))
    assert plan_server(waits, closed, NOW) == Submit(TAG, 0, tags=(CLOSED,))
    attach = Submit("attach_port", 0)
    assert plan_server(waits, Facts(firewall=wanted("DISABLED")), NOW) == attach
    assert plan_server(at(TAG, "attach_port"), replace(closed, job=DONE), NOW) == attach
    failed = replace(closed, job=WRONG, siblings=(), seen=seen())
    end = plan_server(at(TAG, "attach_port"), failed, NOW)
    assert isinstance(end, Finish)
    assert end.end == FAILED


def test_tag_of_an_interface_goes_after_it() -> None:
    """And whether that works or not, the interface is gone."""
    facts = Facts(firewall=wanted("DISABLED"), job=DONE, seen=seen(CLOSED))
    detach = at("detach_port", "detach_port")
    assert plan_server(detach, facts, NOW) == Submit(UNTAG, 0, tags=(CLOSED,))
    for job in (DONE, WRONG):
        last = replace(facts, job=job, siblings=())
        end = plan_server(at(UNTAG, "detach_port"), last, NOW)
        assert end == Finish(SUCCEEDED, seen=seen(CLOSED))
    pending = replace(facts, job=replace(DONE, pending_restart=True))
    assert isinstance(plan_server(detach, pending, NOW), Finish), "the machine still has it"


@pytest.mark.parametrize("step", [TAG, UNTAG])
def test_lost_answer_sends_the_same_tags_again(step: str) -> None:
    """After a look in the queue, and for a removal at what is there."""
    lost = replace(WAITS, state=SUBMITTING, step=step, submitted_at=NOW - timedelta(minutes=1))
    facts = Facts(firewall=wanted("ENABLED"))
    assert plan_server(lost, facts, NOW) == AskSiblings()
    facts = replace(facts, siblings=())
    if step == TAG:
        assert plan_server(lost, facts, NOW) == Submit(TAG, 0, tags=(CLOSED,))
        return
    assert plan_server(lost, facts, NOW) == AskInstance()
    there = replace(facts, seen=seen(CLOSED, LIMITED))
    assert plan_server(lost, there, NOW) == Submit(UNTAG, 0, tags=(LIMITED,))
    gone = replace(facts, seen=seen(CLOSED))
    assert plan_server(lost, gone, NOW) == Finish(SUCCEEDED, seen=seen(CLOSED))


def test_next_try_does_only_what_the_failed_one_has_left() -> None:
    """An operation of its own, which looks at the machine first."""
    facts = Facts(firewall=wanted("ENABLED"))
    failed = replace(facts, job=WRONG, siblings=(), seen=seen(LIMITED, CLOSED))
    end = plan_server(at(UNTAG), failed, NOW)
    assert isinstance(end, Finish)
    assert (end.end, end.seen) == (FAILED, seen(LIMITED, CLOSED))
    assert plan_server(WAITS, facts, NOW) == AskInstance()
    again = replace(facts, seen=seen(LIMITED, CLOSED))
    assert plan_server(WAITS, again, NOW) == Submit(UNTAG, 0, tags=(LIMITED,))
    none_left = replace(facts, seen=seen(CLOSED))
    assert plan_server(WAITS, none_left, NOW) == Finish(SUCCEEDED, seen=seen(CLOSED))
