"""Placement: the choice, and a reason for every cluster that was not taken."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclades_tx.model.placement import (
    NO_DISK,
    NO_MEMORY,
    NOT_NOW,
    Candidate,
    Need,
    choose,
    score,
    with_server,
)

ROOMY = Candidate(
    id=1,
    name="c1",
    drained=False,
    offline=False,
    public=True,
    reachable=True,
    disk_templates=frozenset({"plain", "drbd"}),
    memory_free_mib=8192,
    memory_total_mib=16384,
    disk_free_mib=100_000,
    disk_total_mib=200_000,
    cpus=16,
    instances=2,
)
NEED = Need(1024, 10_240, "plain")

SIZES = st.integers(0, 20_000)
CANDIDATES = st.lists(
    st.builds(
        Candidate,
        id=st.integers(1, 9),
        name=st.just(""),
        drained=st.booleans(),
        offline=st.booleans(),
        public=st.booleans(),
        reachable=st.sampled_from((None, True, False)),
        disk_templates=st.sampled_from((frozenset(), frozenset({"plain"}), frozenset({"drbd"}))),
        memory_free_mib=SIZES,
        memory_total_mib=SIZES,
        disk_free_mib=SIZES,
        disk_total_mib=SIZES,
        cpus=st.integers(0, 64),
        instances=st.integers(0, 40),
        mapped=st.booleans(),
    ),
    unique_by=lambda each: each.id,
).map(lambda all_: [replace(each, name=f"c{each.id}") for each in all_])
NEEDS = st.builds(
    Need,
    SIZES,
    SIZES,
    st.sampled_from(("plain", "drbd", "diskless")),
    st.sampled_from((None, "c1")),
)


@given(CANDIDATES, NEEDS)
def test_each_cluster_is_taken_or_has_a_reason(candidates: list[Candidate], need: Need) -> None:
    """Nobody has to guess why a cluster was left out."""
    placed = choose(candidates, need)
    names = {each.name for each in candidates}
    chosen = set() if placed.chosen is None else {placed.chosen.name}
    assert set(placed.reasons) == names - chosen
    assert all(placed.reasons.values())


@given(CANDIDATES, NEEDS)
def test_the_chosen_cluster_can_take_the_server(candidates: list[Candidate], need: Need) -> None:
    """None that is away, drained, foreign or too small."""
    chosen = choose(candidates, need).chosen
    if chosen is None:
        return
    assert not chosen.offline and not chosen.drained and chosen.reachable is not False
    assert chosen.mapped or (chosen.public and not any(each.mapped for each in candidates))
    assert need.disk_template in chosen.disk_templates
    assert need.zone in (None, chosen.name)
    if chosen.memory_total_mib:
        assert chosen.memory_free_mib > need.memory_mib
        assert chosen.disk_free_mib > need.charged_disk_mib or not need.charged_disk_mib


@given(CANDIDATES, NEEDS, st.randoms())
def test_the_order_of_the_clusters_does_not_matter(
    candidates: list[Candidate], need: Need, chance: object
) -> None:
    """The same clusters give the same choice."""
    first = choose(candidates, need)
    assert choose(list(reversed(candidates)), need) == first


@pytest.mark.parametrize(
    ("change", "reason", "kind"),
    [
        ({"offline": True}, "it is offline", NOT_NOW),
        ({"drained": True}, "it is drained: it takes no new servers", NOT_NOW),
        ({"public": False, "offline": True}, "it is not public", None),
        ({"reachable": False}, "it does not answer at the moment", NOT_NOW),
        ({"disk_templates": frozenset()}, "it was not asked yet what it has", NOT_NOW),
        (
            {"disk_templates": frozenset({"drbd"})},
            "it has no disks of the kind plain",
            "a cluster with disks of the kind plain is needed",
        ),
        ({"memory_free_mib": 1024}, "1024 MiB of memory are free, 1024 are needed", NO_MEMORY),
        ({"disk_free_mib": 10_240}, "10240 MiB of disk are free, 10240 are needed", NO_DISK),
    ],
)
def test_a_cluster_is_refused_with_the_reason(
    change: dict[str, object], reason: str, kind: str | None
) -> None:
    """In a sentence for operators; for users without figures, or not at all."""
    placed = choose([replace(ROOMY, **change)], NEED)  # type: ignore[arg-type]
    assert placed.chosen is None
    assert placed.reasons == {"c1": reason}
    assert placed.kinds == (() if kind is None else (kind,))


def test_a_project_with_clusters_of_its_own_uses_no_others() -> None:
    """Even if these are full."""
    own = replace(ROOMY, id=2, name="own", mapped=True, public=False)
    full = replace(own, memory_free_mib=0)
    assert choose([ROOMY, own], NEED).chosen == own
    assert choose([ROOMY, full], NEED).reasons["c1"] == "the project uses clusters of its own"


def test_another_zone_is_named() -> None:
    """The caller chose it."""
    placed = choose([ROOMY], replace(NEED, zone="c9"))
    assert placed.reasons == {"c1": "it is not the availability zone c9"}


def test_mirrored_disks_count_twice_and_no_disks_not_at_all() -> None:
    """DRBD keeps a second copy."""
    sizes = [Need(1, 100, kind).charged_disk_mib for kind in ("plain", "drbd", "diskless")]
    assert sizes == [100, 200, 0]


def test_a_cluster_with_too_few_cpus_comes_last_but_is_not_refused() -> None:
    """CPUs can be shared by more, memory cannot."""
    crowded = replace(ROOMY, id=2, name="crowded", cpus=1, memory_free_mib=16384)
    placed = choose([crowded, ROOMY], NEED)
    assert placed.chosen == ROOMY
    assert placed.reasons == {"crowded": "its CPUs are taken"}
    assert choose([crowded], NEED).chosen == crowded


def test_the_lower_load_wins_and_the_lower_id_a_draw() -> None:
    """Memory, disk and CPUs all count."""
    idle = replace(ROOMY, id=2, name="idle", memory_free_mib=16000)
    twin = replace(ROOMY, id=3, name="twin")
    assert score(idle) < score(ROOMY)
    placed = choose([twin, ROOMY, idle], NEED)
    assert placed.chosen == idle
    assert placed.reasons == {"c1": "its load is higher", "twin": "its load is higher"}
    assert choose([twin, ROOMY], NEED).chosen == ROOMY


def test_servers_that_are_made_together_see_what_those_before_them_take() -> None:
    """Memory, disk and CPUs of the one cluster; numbers that are too old do not go below 0."""
    other = replace(ROOMY, id=2, name="c2")
    after = with_server([ROOMY, other], ROOMY, Need(1024, 10_240, "drbd"))
    taken = replace(ROOMY, memory_free_mib=7168, disk_free_mib=79_520, instances=3)
    assert after == (taken, other)
    assert choose(after, NEED).chosen == other
    (full,) = with_server([ROOMY], ROOMY, Need(10_000, 200_000, "plain"))
    assert (full.memory_free_mib, full.disk_free_mib) == (0, 0)


def test_a_cluster_that_was_never_asked_is_taken() -> None:
    """It may be the only one yet."""
    unasked = replace(
        ROOMY, memory_free_mib=0, memory_total_mib=0, disk_free_mib=0, disk_total_mib=0, cpus=0
    )
    assert choose([unasked], NEED).chosen == unasked
