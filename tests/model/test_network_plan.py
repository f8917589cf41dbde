"""The planner of networks when their shape changes, or they go, while something is in motion."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from cyclades_tx.model.job import Job, JobStatus
from cyclades_tx.model.network_plan import NetworkFacts, plan_network
from cyclades_tx.model.operation import PENDING, SUBMITTED, SUCCEEDED, Operation
from cyclades_tx.model.step import Finish, Submit

NOW = datetime(2026, 1, 2, tzinfo=UTC)
DONE = Job(7, JobStatus.SUCCESS)


def an_operation(kind: str = "make_network", number: int | None = None, **parts: Any) -> Operation:
    """An open operation, of a round if one is given."""
    return Operation(
        **{
            "id": 1,
            "kind": kind,
            "state": PENDING,
            "cluster_id": 1,
            "created_at": NOW,
            "deadline_at": NOW + timedelta(minutes=15),
            "arguments": {} if number is None else {"round": number},
            **parts,
        }
    )


def facts(present: bool = True, fits: bool = True, *connected: str) -> NetworkFacts:
    """A look at a cluster of one group."""
    return NetworkFacts(job=DONE, groups=("g",), present=present, fits=fits, connected=connected)


def test_a_network_of_another_shape_is_taken_away_and_made_anew() -> None:
    """Step by step, each with a name of its round's own."""
    operation = an_operation(number=2)
    steps = [
        plan_network(operation, seen, NOW)
        for seen in (
            facts(True, False, "g"),
            facts(True, False),
            facts(False),
            facts(True, True),
            facts(True, True, "g"),
        )
    ]
    assert steps == [
        Submit("disconnect2-g", 0),
        Submit("remove2", 0),
        Submit("make2", 0),
        Submit("connect2-g", 0),
        Finish(SUCCEEDED),
    ]


def test_without_a_round_what_is_there_is_taken_as_it_is() -> None:
    """What operators change by hand is not undone."""
    assert plan_network(an_operation(), facts(True, False, "g"), NOW) == Finish(SUCCEEDED)


def test_an_operation_that_became_a_removal_removes_what_it_has_made() -> None:
    """After its job has ended."""
    operation = an_operation("remove_network", 1, state=SUBMITTED, job_id=7, step="make")
    assert plan_network(operation, facts(), NOW) == Submit("remove1", 0)
    assert plan_network(operation, facts(False), NOW) == Finish(SUCCEEDED)


def test_a_shape_that_changed_while_its_job_ran_is_made_in_the_next_round() -> None:
    """Although the job of the earlier round was successful."""
    operation = an_operation(number=1, state=SUBMITTED, job_id=7, step="make")
    assert plan_network(operation, facts(True, False), NOW) == Submit("remove1", 0)
