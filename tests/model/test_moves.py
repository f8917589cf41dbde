"""The state tables: where a server rests after a look, and after each end of an operation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclades_tx.model import quota
from cyclades_tx.model.instance import Instance, Power
from cyclades_tx.model.moves import (
    ABSENT,
    ACTIVE,
    ALLOWED,
    BUILDING,
    DELETED,
    ERROR,
    RESCUED,
    RESIZED,
    STOPPED,
    UNSEEN,
    Rest,
    Seen,
    observed,
    rest,
)
from cyclades_tx.model.operation import CANCELED, FAILED, SUCCEEDED

RUNNING = Instance("snf-1", "running", Power.RUNNING)
DOWN = Instance("snf-1", "ADMIN_down", Power.STOPPED)
LOST = Instance("snf-1", "ERROR_nodedown", Power.UNKNOWN)

#: Where a server may rest; what is building or gone is charged for nothing.
RESTS = (
    Rest(BUILDING, quota.NONE),
    Rest(ACTIVE, quota.ON),
    Rest(STOPPED, quota.OFF),
    Rest(ERROR, quota.ON),
    Rest(ERROR, quota.OFF),
    Rest(ERROR, quota.NONE),
    Rest(RESIZED, quota.ON),
    Rest(RESIZED, quota.OFF),
    Rest(RESCUED, quota.ON),
    Rest(RESCUED, quota.OFF),
    Rest(DELETED, quota.NONE),
)
SIGHTS: tuple[Seen, ...] = (UNSEEN, ABSENT, RUNNING, DOWN, LOST)
KINDS = (
    "create", "delete", "start", "stop", "reboot", "resize", "rebuild", "rescue", "unrescue"
)  # fmt: skip
ENDS = (SUCCEEDED, FAILED, CANCELED)


@pytest.mark.parametrize(
    ("before", "seen", "after"),
    [
        (Rest(ACTIVE, quota.ON), RUNNING, Rest(ACTIVE, quota.ON)),
        (Rest(ACTIVE, quota.ON), DOWN, Rest(STOPPED, quota.OFF)),
        (Rest(STOPPED, quota.OFF), RUNNING, Rest(ACTIVE, quota.ON)),
        (Rest(ACTIVE, quota.ON), LOST, Rest(ACTIVE, quota.ON)),
        (Rest(STOPPED, quota.OFF), LOST, Rest(STOPPED, quota.OFF)),
        (Rest(ACTIVE, quota.ON), ABSENT, Rest(DELETED, quota.NONE)),
        (Rest(STOPPED, quota.OFF), ABSENT, Rest(DELETED, quota.NONE)),
        (Rest(ERROR, quota.ON), ABSENT, Rest(ERROR, quota.NONE)),
        (Rest(ERROR, quota.ON), RUNNING, Rest(ACTIVE, quota.ON)),
        (Rest(ERROR, quota.NONE), RUNNING, Rest(ERROR, quota.NONE)),
        # A new system that was not installed whole: down it stays in error.
        (Rest(ERROR, quota.OFF), DOWN, Rest(ERROR, quota.OFF)),
        (Rest(ERROR, quota.OFF), RUNNING, Rest(ACTIVE, quota.ON)),
        (Rest(RESIZED, quota.ON), DOWN, Rest(RESIZED, quota.OFF)),
        (Rest(RESIZED, quota.OFF), RUNNING, Rest(RESIZED, quota.ON)),
        (Rest(RESIZED, quota.ON), ABSENT, Rest(DELETED, quota.NONE)),
        (Rest(RESCUED, quota.ON), DOWN, Rest(RESCUED, quota.OFF)),
        (Rest(RESCUED, quota.ON), LOST, Rest(RESCUED, quota.ON)),
    ],
)
def test_a_look_at_a_server_at_rest_makes_the_cluster_right(
    before: Rest, seen: Seen, after: Rest
) -> None:
    """What is seen decides; a node that is down says nothing."""
    assert observed(before, seen) == after


@given(st.sampled_from(RESTS), st.sampled_from(SIGHTS))
def test_looking_twice_changes_nothing_more(before: Rest, seen: Seen) -> None:
    """A repeated fact is harmless."""
    once = observed(before, seen)
    assert observed(once, seen) == once


@given(st.sampled_from(SIGHTS))
def test_a_deleted_server_never_comes_back(seen: Seen) -> None:
    """Whatever is seen under its name."""
    assert observed(Rest(DELETED, quota.NONE), seen) == Rest(DELETED, quota.NONE)


@given(
    st.sampled_from(KINDS), st.sampled_from(ENDS), st.sampled_from(RESTS), st.sampled_from(SIGHTS)
)
def test_every_end_leads_to_a_rest_with_the_charge_of_its_state(
    kind: str, end: str, before: Rest, seen: Seen
) -> None:
    """No running machine is free, and nothing that is gone costs."""
    after = rest(kind, end, before, seen)
    assert after in RESTS
    if seen is RUNNING and before.state not in (DELETED, BUILDING) and kind in ("start", "stop"):
        assert after == Rest(ACTIVE, quota.ON)


@given(st.sampled_from((FAILED, CANCELED)), st.sampled_from(SIGHTS))
def test_a_creation_that_did_not_succeed_costs_nothing_only_when_nothing_is_there(
    end: str, seen: Seen
) -> None:
    """As long as an instance may stand at the cluster, its project pays for it."""
    after = rest("create", end, Rest(BUILDING, quota.NONE), seen)
    assert after == Rest(ERROR, quota.NONE if seen is ABSENT else quota.ON)


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        ("create", Rest(BUILDING, quota.NONE), Rest(ACTIVE, quota.ON)),
        ("start", Rest(STOPPED, quota.OFF), Rest(ACTIVE, quota.ON)),
        ("reboot", Rest(STOPPED, quota.OFF), Rest(ACTIVE, quota.ON)),
        ("stop", Rest(ACTIVE, quota.ON), Rest(STOPPED, quota.OFF)),
        ("delete", Rest(ACTIVE, quota.ON), Rest(DELETED, quota.NONE)),
    ],
)
def test_success_without_a_look_is_believed(kind: str, before: Rest, after: Rest) -> None:
    """The job said so."""
    assert rest(kind, SUCCEEDED, before, UNSEEN) == after


@pytest.mark.parametrize("kind", ["start", "stop", "reboot", "delete"])
def test_failure_without_a_look_changes_nothing(kind: str) -> None:
    """Nobody knows better."""
    assert rest(kind, FAILED, Rest(STOPPED, quota.OFF), UNSEEN) == Rest(STOPPED, quota.OFF)


def test_a_delete_that_failed_follows_what_is_there() -> None:
    """The machine may be down by now."""
    assert rest("delete", FAILED, Rest(ACTIVE, quota.ON), DOWN) == Rest(STOPPED, quota.OFF)


@pytest.mark.parametrize(
    ("kind", "end", "before", "seen", "step", "after"),
    [
        ("resize", SUCCEEDED, Rest(ACTIVE, quota.ON), RUNNING, "start", Rest(RESIZED, quota.ON)),
        ("resize", SUCCEEDED, Rest(STOPPED, quota.OFF), DOWN, "set", Rest(RESIZED, quota.OFF)),
        ("resize", FAILED, Rest(ACTIVE, quota.ON), RUNNING, "restart", Rest(ACTIVE, quota.ON)),
        ("resize", FAILED, Rest(ACTIVE, quota.ON), DOWN, "restart", Rest(STOPPED, quota.OFF)),
        # Taken back.
        ("resize", SUCCEEDED, Rest(RESIZED, quota.ON), RUNNING, "start", Rest(ACTIVE, quota.ON)),
        ("resize", SUCCEEDED, Rest(RESIZED, quota.OFF), DOWN, "set", Rest(STOPPED, quota.OFF)),
        ("resize", FAILED, Rest(RESIZED, quota.ON), RUNNING, "restart", Rest(RESIZED, quota.ON)),
        ("rebuild", SUCCEEDED, Rest(ERROR, quota.OFF), RUNNING, "install", Rest(ACTIVE, quota.ON)),
        ("rebuild", SUCCEEDED, Rest(STOPPED, quota.OFF), DOWN, "install",
         Rest(STOPPED, quota.OFF)),
        ("rebuild", FAILED, Rest(ACTIVE, quota.ON), DOWN, "install", Rest(ERROR, quota.OFF)),
        ("rebuild", FAILED, Rest(STOPPED, quota.OFF), DOWN, "parameters",
         Rest(STOPPED, quota.OFF)),
        ("rebuild", FAILED, Rest(STOPPED, quota.OFF), UNSEEN, "install", Rest(STOPPED, quota.OFF)),
        ("rebuild", FAILED, Rest(ACTIVE, quota.ON), RUNNING, "install", Rest(ACTIVE, quota.ON)),
        ("rescue", SUCCEEDED, Rest(STOPPED, quota.OFF), RUNNING, "start", Rest(RESCUED, quota.ON)),
        ("rescue", FAILED, Rest(ACTIVE, quota.ON), RUNNING, "restart", Rest(ACTIVE, quota.ON)),
        ("unrescue", SUCCEEDED, Rest(RESCUED, quota.ON), RUNNING, "start", Rest(ACTIVE, quota.ON)),
        ("unrescue", FAILED, Rest(RESCUED, quota.ON), RUNNING, "restart", Rest(RESCUED, quota.ON)),
        ("unrescue", FAILED, Rest(RESCUED, quota.ON), ABSENT, "set", Rest(DELETED, quota.NONE)),
    ],
)  # fmt: skip
def test_each_procedure_leads_where_it_should(
    kind: str, end: str, before: Rest, seen: Seen, step: str, after: Rest
) -> None:
    """And its failure to where the machine really is."""
    assert rest(kind, end, before, seen, step) == after


def test_nothing_is_allowed_in_a_state_that_is_no_rest_of_a_machine() -> None:
    """Changes need a machine."""
    allowed = {state for states in ALLOWED.values() for state in states}
    assert not allowed & {BUILDING, DELETED}


def test_what_waits_for_a_word_allows_nothing_else() -> None:
    """A resized or rescued server is led back first."""
    assert {rule for rule, states in ALLOWED.items() if RESIZED in states} == {"confirm", "revert"}
    assert {rule for rule, states in ALLOWED.items() if RESCUED in states} == {"unrescue"}
