"""The planner of networks: each fault has its finding and remedy, and what is right has none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclades_tx.model import network_drift as drift
from cyclades_tx.model.instance import SeenNetwork
from cyclades_tx.model.names import Names
from cyclades_tx.model.network_drift import (
    NetworkFinding,
    Remedy,
    Rules,
    plan_networks,
)
from cyclades_tx.model.network_record import KnownNetwork, Reservation, Shape

NOW = datetime(2024, 5, 31, tzinfo=UTC)
NAMES = Names("snf-")
SHAPE = Shape(
    "10.0.0.0/24", "10.0.0.1", None, None, "aa:00:01", "bridged", "br0",
    frozenset(("nfdhcpd", "private")),
)  # fmt: skip
OURS = KnownNetwork(7, True, True, "active", NOW - timedelta(days=1), shape=SHAPE)
THEIRS = SeenNetwork(
    "snf-net-7", "10.0.0.0/24", (("default", "bridged", "br0"),), ("nfdhcpd", "private"),
    "10.0.0.1", mac_prefix="aa:00:01", reserved=("10.0.0.0", "10.0.0.1", "10.0.0.255"),
)  # fmt: skip


def plan(
    ours: KnownNetwork | None = OURS,
    theirs: SeenNetwork | None = THEIRS,
    groups: tuple[str, ...] = ("default",),
    **others: Any,
) -> list[NetworkFinding]:
    """The findings about one network."""
    known = {} if ours is None else {ours.id: ours}
    seen = () if theirs is None else (theirs,)
    first_seen = others.pop("first_seen", {})
    return list(plan_networks(NAMES, known, seen, groups, first_seen, NOW, **others))


def only(found: list[NetworkFinding]) -> NetworkFinding:
    """The one finding there is."""
    assert len(found) == 1, found
    return found[0]


def test_what_is_right_has_no_finding() -> None:
    """Also with further tags, another's networks, and a network of no prefix there."""
    assert plan() == []
    assert plan(theirs=replace(THEIRS, tags=(*THEIRS.tags, "more"), mac_prefix=None)) == []
    assert plan(None, SeenNetwork("other-net-7", "10.0.0.0/24")) == []
    assert plan(None, SeenNetwork("snf-office", "10.0.0.0/24")) == []


def test_what_is_in_motion_is_left_alone() -> None:
    """Whatever is seen of it: its operation says what becomes of it."""
    for state in (None, "making", "active", "removing", "error"):
        assert plan(replace(OURS, state=state, busy=True), None) == []
        assert plan(replace(OURS, state=state, busy=True, live=False)) == []


@pytest.mark.parametrize("name", ["snf-net-7", "snf-net-08", "snf-net-x", "snf-net-" + "9" * 30])
def test_a_network_that_nobody_knows_is_only_told(name: str) -> None:
    """Another service may own it."""
    finding = only(plan(None, replace(THEIRS, name=name)))
    assert (finding.kind, finding.remedy, finding.subject) == (
        drift.ORPHAN, Remedy.OPERATOR, name,
    )  # fmt: skip
    assert not finding.due(NOW)
    assert f"gnt-network remove {name}" in finding.sentence


@pytest.mark.parametrize(
    ("ours", "theirs", "kind"),
    [
        ({"state": "active"}, None, drift.MISSING),
        ({"state": None}, None, drift.MISSING),
        ({"state": "error"}, None, drift.STALLED),
        ({"state": "making"}, None, drift.STALLED),
        ({"state": "removing"}, None, drift.STALLED),
        ({"state": None}, THEIRS, drift.UNRECORDED),
        ({"state": "error"}, THEIRS, drift.STALLED),
        ({"state": "making"}, THEIRS, drift.STALLED),
        ({}, replace(THEIRS, groups=()), drift.UNCONNECTED),
    ],
)
def test_a_network_that_cannot_be_used_is_made(
    ours: dict[str, Any], theirs: SeenNetwork | None, kind: str
) -> None:
    """By an operation, at once."""
    finding = only(plan(replace(OURS, **ours), theirs))
    assert (finding.kind, finding.remedy) == (kind, Remedy.MAKE)
    assert finding.due(NOW)


def test_a_group_that_was_added_later_is_connected() -> None:
    """The groups that it has already go along: it can be used meanwhile."""
    finding = only(plan(groups=("default", "new", "newer")))
    assert (finding.kind, finding.values) == (drift.UNCONNECTED, ("default",))
    assert "not connected to new, newer" in finding.sentence


def test_a_network_in_error_that_stands_nowhere_is_not_made() -> None:
    """It should not be used; only what had stood is made again."""
    assert plan(replace(OURS, usable=False, state=None), None) == []
    assert only(plan(replace(OURS, usable=False), None)).kind == drift.MISSING


def test_what_failed_is_tried_later_each_time_and_at_last_no_more() -> None:
    """The loop stops; an operator may still ask for it."""
    rules = Rules(most_failures=3, first_pause_seconds=60)
    failed = replace(OURS, state="error", failures=1, tried_at=NOW, why="no bridge br0")
    for failures, pause in ((1, 60), (2, 120)):
        finding = only(plan(replace(failed, failures=failures), None, rules=rules))
        assert not finding.due(NOW + timedelta(seconds=pause - 1))
        assert finding.due(NOW + timedelta(seconds=pause))
    finding = only(plan(replace(failed, failures=3), None, rules=rules))
    assert finding.remedy is Remedy.MAKE
    assert not finding.due(NOW + timedelta(days=99))
    assert "3 tries have failed; the last one: no bridge br0" in finding.sentence


def test_more_than_half_missing_at_once_is_not_believed() -> None:
    """It is rather the wrong cluster; what was never there is made all the same."""
    known = {number: replace(OURS, id=number) for number in range(1, 13)}
    known[13] = replace(OURS, id=13, state=None)
    seen = [replace(THEIRS, name=f"snf-net-{number}") for number in range(1, 6)]
    found = plan_networks(NAMES, known, seen, ("default",), {}, NOW)
    assert len(found) == 8
    assert [each.network_id for each in found if each.due(NOW)] == [13]
    assert [each.network_id for each in found if not each.held_back] == [13]
    assert "7 of 12 networks are missing at once" in found[0].sentence
    seen.append(replace(THEIRS, name="snf-net-6"))
    found = plan_networks(NAMES, known, seen, ("default",), {}, NOW)
    assert all(each.due(NOW) for each in found)


def test_a_deleted_network_is_removed_after_a_grace_if_that_is_wanted() -> None:
    """Otherwise an operator is asked; never while machines are on it."""
    gone = replace(OURS, live=False, state=None)
    rules = Rules(grace=timedelta(hours=1), removes=True)
    fresh = only(plan(gone, rules=rules))
    assert (fresh.kind, fresh.remedy) == (drift.UNDELETED, Remedy.REMOVE)
    assert not fresh.due(NOW)
    since = {(drift.UNDELETED, "snf-net-7"): NOW - timedelta(hours=1)}
    assert only(plan(gone, rules=rules, first_seen=since)).due(NOW)
    asked = only(plan(gone, first_seen={**since}))
    assert asked.remedy is Remedy.REMOVE
    assert not asked.due(NOW + timedelta(days=99))
    used = only(plan(gone, replace(THEIRS, instances=2), rules=rules, first_seen=since))
    assert used.remedy is Remedy.OPERATOR


@pytest.mark.parametrize("state", ["removing", "error"])
def test_a_removal_that_failed_is_tried_again_at_once(state: str) -> None:
    """Whatever the rules say of networks that nobody asked to remove; not after many failures."""
    gone = replace(OURS, live=False, state=state)
    assert only(plan(gone)).due(NOW)
    assert not only(plan(replace(gone, failures=9, tried_at=NOW))).due(NOW + timedelta(days=9))
    used = only(plan(gone, replace(THEIRS, instances=2)))
    assert used.remedy is Remedy.OPERATOR


def test_the_record_of_a_deleted_network_that_is_gone_goes() -> None:
    """And without a record there is nothing to do."""
    assert only(plan(replace(OURS, live=False), None)).kind == drift.LEFTOVER
    assert plan(replace(OURS, live=False, state=None), None) == []


def test_another_mac_prefix_is_taken_into_the_record() -> None:
    """But for a network that its prefix keeps apart."""
    finding = only(plan(theirs=replace(THEIRS, mac_prefix="AA:00:0F")))
    assert (finding.kind, finding.remedy) == (drift.MAC_PREFIX, Remedy.RECORD)
    assert finding.values == ("aa:00:0f",)
    filtered = replace(OURS, shape=replace(SHAPE, filtered=True))
    finding = only(plan(filtered, replace(THEIRS, mac_prefix="aa:00:0f")))
    assert (finding.kind, finding.remedy) == (drift.DIFFERENT, Remedy.OPERATOR)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"cidr": "10.9.0.0/24"}, "the subnet is 10.9.0.0/24 there and 10.0.0.0/24 here"),
        ({"gateway": None}, "the gateway is none there and 10.0.0.1 here"),
        ({"cidr6": "fd00::/64"}, "the IPv6 subnet is fd00::/64 there and none here"),
        ({"gateway6": "fd00::1"}, "the IPv6 gateway is fd00::1 there and none here"),
        ({"tags": ("private",)}, "it lacks tag nfdhcpd"),
        (
            {"groups": (("default", "routed", "table1"),)},
            "group default is connected as routed to table1, not as bridged to br0",
        ),
    ],
)
def test_another_shape_is_told(change: dict[str, Any], sentence: str) -> None:
    """A network cannot be changed by this service: an operator decides which is right."""
    finding = only(plan(theirs=replace(THEIRS, **change)))
    assert (finding.kind, finding.remedy) == (drift.DIFFERENT, Remedy.OPERATOR)
    assert sentence in finding.sentence


def test_addresses_that_the_cluster_reserves_are_held_and_let_go() -> None:
    """What somebody has is told."""
    reservations = (
        Reservation("10.0.0.9", False, False),
        Reservation("10.0.0.10", False, True),
        Reservation("10.0.0.11", True, False),
    )
    ours = replace(OURS, reservations=reservations, held=frozenset(("10.0.0.10", "10.0.0.12")))
    found = {each.kind: each for each in plan(ours)}
    assert found[drift.RESERVED].values == ("10.0.0.9",)
    assert found[drift.UNRESERVED].values == ("10.0.0.12",)
    assert found[drift.RESERVED_IN_USE].values == ("10.0.0.11",)
    assert found[drift.RESERVED_IN_USE].remedy is Remedy.OPERATOR
    assert len(found) == 3


NETWORKS = st.builds(
    KnownNetwork,
    id=st.integers(1, 12),
    live=st.booleans(),
    usable=st.booleans(),
    state=st.sampled_from((None, "making", "active", "removing", "error")),
    changed_at=st.just(NOW),
    busy=st.booleans(),
    failures=st.integers(0, 9),
    tried_at=st.sampled_from((None, NOW)),
    shape=st.sampled_from((None, SHAPE)),
)
SEEN = st.builds(
    SeenNetwork,
    name=st.sampled_from([f"snf-net-{number}" for number in range(1, 15)] + ["x", "snf-net-"]),
    cidr=st.sampled_from((None, "10.0.0.0/24", "nonsense")),
    groups=st.sampled_from(((), (("default", "bridged", "br0"),), (("a", "routed", "t"),))),
    tags=st.sampled_from(((), ("nfdhcpd", "private"))),
    instances=st.integers(0, 2),
    mac_prefix=st.sampled_from((None, "", "aa:00:01", "zz")),
)


@given(
    st.lists(NETWORKS, unique_by=lambda each: each.id),
    st.lists(SEEN, unique_by=lambda each: each.name),
    st.sampled_from(((), ("default",), ("default", "a"))),
)
def test_nothing_that_is_used_or_not_ours_is_ever_removed(
    ours: list[KnownNetwork], seen: list[SeenNetwork], groups: tuple[str, ...]
) -> None:
    """Whatever is known and seen: removed is only what was deleted, unused and at rest."""
    known = {each.id: each for each in ours}
    there = {each.name: each for each in seen}
    found = plan_networks(NAMES, known, seen, groups, {}, NOW, Rules(timedelta(0), removes=True))
    assert len({(each.kind, each.subject) for each in found}) == len(found)
    for each in found:
        assert each.sentence
        if each.remedy is Remedy.REMOVE:
            network = known[each.network_id or 0]
            assert not network.live
            assert not network.busy
            assert not there[each.subject].instances
        if each.remedy is Remedy.MAKE:
            assert known[each.network_id or 0].live
        if each.kind == drift.ORPHAN:
            assert each.network_id not in known
        else:
            assert not known[each.network_id or 0].busy
