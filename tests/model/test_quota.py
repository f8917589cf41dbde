"""Quota arithmetic."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cyclades_tx.model import quota
from cyclades_tx.model.quota import Holding, difference, quota_message, server_amounts, shortages

AMOUNTS = st.dictionaries(st.sampled_from(quota.RESOURCES), st.integers(0, 2**40))
CHARGES = st.sampled_from((quota.NONE, quota.OFF, quota.ON))
SIZES = st.tuples(st.integers(1, 64), st.integers(1, 2**20), st.integers(0, 2**12))


@given(AMOUNTS, AMOUNTS)
def test_the_difference_leads_from_one_to_the_other(
    before: dict[str, int], after: dict[str, int]
) -> None:
    """And back, and has no zeros."""
    change = difference(before, after)
    assert 0 not in change.values()
    for resource in quota.RESOURCES:
        assert before.get(resource, 0) + change.get(resource, 0) == after.get(resource, 0)
    assert difference(after, before) == {key: -value for key, value in change.items()}


@given(st.lists(CHARGES, min_size=1, max_size=8), SIZES)
def test_whatever_a_server_lives_through_its_project_gets_everything_back(
    charges: list[str], sizes: tuple[int, int, int]
) -> None:
    """The sum of the differences along a life that ends with nothing is nothing."""
    held: dict[str, int] = {}
    before = quota.NONE
    for charge in [*charges, quota.NONE]:
        change = difference(server_amounts(before, *sizes), server_amounts(charge, *sizes))
        for resource, amount in change.items():
            held[resource] = held.get(resource, 0) + amount
            assert held[resource] >= 0
        before = charge
    assert set(held.values()) <= {0}


@given(SIZES)
def test_a_stopped_server_gives_back_running_cpu_and_memory_only(
    sizes: tuple[int, int, int],
) -> None:
    """What `stop` is for."""
    change = difference(server_amounts(quota.ON, *sizes), server_amounts(quota.OFF, *sizes))
    assert change == {quota.CPU: -sizes[0], quota.RAM: -sizes[1] * quota.MIB}


HOLDINGS = st.builds(
    Holding,
    st.sampled_from(quota.RESOURCES),
    st.none() | st.integers(0, 2**40),
    st.integers(0, 2**40),
    st.integers(0, 2**40),
)


@given(
    st.lists(HOLDINGS),
    st.dictionaries(st.sampled_from(quota.RESOURCES), st.integers(-9, 2**40)),
)
def test_a_shortage_is_named_for_each_limit_that_growth_would_pass(
    held: list[Holding], amounts: dict[str, int]
) -> None:
    """And for no other: who gives back, or has no limit, is never refused."""
    holdings = {each.resource: each for each in held}
    found = shortages(holdings, amounts)
    short = {
        resource
        for resource, amount in amounts.items()
        if amount > 0
        and (holding := holdings.get(resource)) is not None
        and holding.maximum is not None
        and holding.maximum < holding.used + holding.reserved + amount
    }
    assert [each.resource for each in found] == sorted(short)


def test_the_message_begins_as_clients_expect_and_has_people_s_units() -> None:
    """Bytes are shown as MiB or GiB."""
    holdings = {
        quota.RAM: Holding(quota.RAM, 1024 * quota.MIB, 512 * quota.MIB, 256 * quota.MIB),
        quota.CPU: Holding(quota.CPU, 4, 4, 0),
    }
    found = shortages(holdings, {quota.RAM: 512 * quota.MIB, quota.CPU: 1})
    assert quota_message(found) == (
        "Quota exceeded for running cores, running ram: Requested 1, but already used 4 of 4"
        " running cores; Requested 512 MiB, but already used 768 of 1024 MiB running ram."
    )
