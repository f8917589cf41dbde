"""Placement of servers that belong together, or are kept apart."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from cyclades_tx.model.placement import (
    AFFINITY,
    ANTI_AFFINITY,
    POLICIES,
    SOFT_AFFINITY,
    SOFT_ANTI_AFFINITY,
    Candidate,
    Company,
    Need,
    choose,
)

IDLE = Candidate(
    id=1, name="c1", drained=False, offline=False, public=True, reachable=True,
    disk_templates=frozenset({"plain"}), memory_free_mib=9000, memory_total_mib=10_000,
    disk_free_mib=90_000, disk_total_mib=100_000, cpus=64, instances=0,
)  # fmt: skip
BUSY = replace(IDLE, id=2, name="c2", memory_free_mib=4000, instances=4)


def placed(company, *candidates):
    return choose(candidates or (IDLE, BUSY), Need(100, 100, "plain", None, company))


def test_affinity_follows_the_others_to_a_busy_cluster():
    """And says why not the idle one."""
    found = placed(Company(AFFINITY, 1, {2: 1}))
    assert found.chosen is BUSY
    assert found.reasons["c1"] == "the servers of the group are elsewhere (affinity)"


def test_affinity_is_free_for_the_first():
    """The idle cluster is taken."""
    assert placed(Company(AFFINITY)).chosen is IDLE


def test_anti_affinity_leaves_the_cluster_of_the_others():
    """With its rule, only when as many are there as may be."""
    assert placed(Company(ANTI_AFFINITY, 1, {1: 1})).chosen is BUSY
    assert placed(Company(ANTI_AFFINITY, 1, {1: 1, 2: 1})).chosen is None
    assert placed(Company(ANTI_AFFINITY, 2, {1: 1, 2: 1})).chosen is IDLE


def test_soft_policies_only_prefer():
    """They take what there is."""
    assert placed(Company(SOFT_AFFINITY, 1, {2: 1})).chosen is BUSY
    assert placed(Company(SOFT_ANTI_AFFINITY, 1, {1: 1})).chosen is BUSY
    found = placed(Company(SOFT_ANTI_AFFINITY, 1, {1: 2, 2: 1}))
    assert found.chosen is BUSY
    assert "prefers another" in found.reasons["c1"]
    assert placed(Company(SOFT_AFFINITY, 1, {9: 1})).chosen is IDLE


COMPANIES = st.builds(
    Company,
    st.sampled_from(POLICIES),
    st.integers(1, 3),
    st.dictionaries(st.integers(1, 4), st.integers(1, 3), max_size=4),
)


@given(COMPANIES, st.lists(st.integers(1, 4), unique=True, max_size=4))
def test_a_policy_is_kept_or_nothing_is_chosen(company, ids):
    """Soft ones are never a reason for nothing."""
    candidates = [replace(IDLE, id=each, name=f"c{each}") for each in ids]
    found = choose(candidates, Need(100, 100, "plain", None, company))
    if found.chosen is None:
        assert not ids or company.policy in (AFFINITY, ANTI_AFFINITY)
        assert set(found.reasons) == {each.name for each in candidates}
    elif company.policy == AFFINITY:
        assert not company.servers or found.chosen.id in company.servers
    elif company.policy == ANTI_AFFINITY:
        assert company.servers.get(found.chosen.id, 0) < company.most_per_cluster
