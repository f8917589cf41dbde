"""Enforcement: what goes so that limits are kept, and what is left alone."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from cyclades_tx.model import quota
from cyclades_tx.model.enforcement import (
    DETACH,
    REMOVE,
    RESOURCES,
    SHUTDOWN,
    SOFT,
    FloatingTarget,
    Target,
    Violation,
    plan,
)

ONE = Target(
    id=1, uuid="u1", name="one", project_id="p", user_id="u", cluster="c1", state="active",
    running=True, vcpus=2, memory_mib=1024, disk_gib=10,
)  # fmt: skip
CPUS = Violation("p", None, quota.CPU, 2, 4)


def server(number, **others):
    return replace(ONE, id=number, uuid=f"u{number}", **others)


def chosen(found):
    return [(each.target.id, each.kind) for each in found.actions]


def test_the_youngest_running_server_is_stopped_for_its_cpus():
    """One is enough."""
    assert chosen(plan([CPUS], [server(1), server(2)])) == [(2, SHUTDOWN)]


def test_a_server_in_error_goes_first_and_is_removed():
    """It is of no use to anybody."""
    broken = server(1, state="error")
    assert chosen(plan([CPUS], [broken, server(2)])) == [(1, REMOVE)]


def test_what_was_chosen_for_one_resource_helps_the_next():
    """Memory needs nothing more."""
    memory = Violation("p", None, quota.RAM, 1024 * quota.MIB, 2048 * quota.MIB)
    found = plan([CPUS, memory], [server(1), server(2)])
    assert chosen(found) == [(2, SHUTDOWN)]
    assert found.notes == {}


def test_what_was_to_be_stopped_is_removed_when_that_is_needed():
    """It is one action, the harder one."""
    servers = Violation("p", None, quota.VM, 1, 2)
    found = plan([CPUS, servers], [server(1), server(2)])
    assert chosen(found) == [(2, REMOVE)]


def test_for_a_soft_resource_a_stopped_server_is_as_good_as_gone():
    """Only those that run are stopped."""
    servers = Violation("p", None, quota.VM, 1, 3)
    targets = [server(1), server(2), server(3, state="stopped", running=False)]
    found = plan([servers], targets, soft=frozenset({quota.VM}))
    assert chosen(found) == [(2, SHUTDOWN)]


def test_nothing_is_done_while_operations_are_under_way():
    """The next time is soon enough."""
    found = plan([replace(CPUS, reserved=1)], [server(1), server(2)])
    assert found.actions == ()
    assert "under way" in found.notes[1]


def test_a_server_with_more_volumes_is_removed_with_cascade_only():
    """Its data would go, too."""
    servers = Violation("p", None, quota.VM, 0, 1)
    target = server(1, extra_volumes=1)
    without = plan([servers], [target])
    assert without.actions == ()
    assert without.notes
    assert chosen(plan([servers], [target], cascade=True)) == [(1, REMOVE)]


def test_disks_are_removed_with_their_servers_when_asked_for():
    """Never by chance."""
    disks = Violation("p", None, quota.DISK, 0, 10 * quota.GIB)
    assert plan([disks], [ONE]).actions == ()
    assert chosen(plan([disks], [ONE], system_volumes=True)) == [(1, REMOVE)]


def test_a_user_s_limit_takes_that_user_s_servers_only():
    """The others of the project keep theirs, and other projects too."""
    mine = Violation("p", "u", quota.VM, 0, 1)
    targets = [ONE, server(2, user_id="v"), server(3, project_id="q")]
    assert chosen(plan([mine], targets)) == [(1, REMOVE)]


ADDRESSES = Violation("p", None, quota.FLOATING_IP, 1, 3)


def address(number, server=None, **others):
    found = FloatingTarget(number, f"f{number}", f"192.0.2.{number}", "p", "u", "c1", "free")
    if server is not None:
        others = {"server_id": server.id, "state": server.state, **others}
    return replace(found, **others)


def test_free_addresses_go_before_those_that_are_used():
    """Then those of stopped servers, each time the youngest first."""
    off = server(2, state="stopped", running=False)
    targets = [address(1), address(2, off), address(3, ONE)]
    assert chosen(plan([ADDRESSES], [ONE, off], targets)) == [(1, REMOVE), (2, REMOVE)]


def test_for_soft_addresses_it_is_enough_that_no_server_has_them():
    """Free ones are as good as given back."""
    targets = [address(1), address(2, ONE), address(3, ONE)]
    found = plan([ADDRESSES], [ONE], targets, soft=frozenset({quota.FLOATING_IP}))
    assert chosen(found) == [(3, DETACH)]
    assert found.notes == {}


def test_what_is_planned_for_servers_tells_which_addresses_go_first():
    """That of a server that will be stopped before that of one that runs, and goes, last."""
    limits = [CPUS, ADDRESSES]
    targets = [address(1, server(2)), address(2, server(1)), address(3, server(1))]
    found = plan(limits, [server(1), server(2)], targets)
    assert chosen(found) == [(1, REMOVE), (3, REMOVE), (2, SHUTDOWN)]


def test_addresses_of_others_are_left_alone():
    """And what cannot be reached is said."""
    found = plan([ADDRESSES], [], [address(1, project_id="q"), address(2)])
    assert chosen(found) == [(2, REMOVE)]
    assert 1 in found.notes


TARGETS = st.lists(
    st.builds(
        Target,
        id=st.integers(1, 30),
        uuid=st.just("u"),
        name=st.just("n"),
        project_id=st.sampled_from(("p", "q")),
        user_id=st.sampled_from(("u", "v")),
        cluster=st.just("c"),
        state=st.sampled_from(("active", "stopped", "error", "rescued")),
        running=st.booleans(),
        vcpus=st.integers(1, 4),
        memory_mib=st.integers(1, 4096),
        disk_gib=st.integers(0, 20),
        extra_volumes=st.integers(0, 1),
    ),
    unique_by=lambda each: each.id,
    max_size=8,
)


@given(TARGETS, st.sampled_from(RESOURCES[:-1]), st.integers(0, 20), st.booleans(), st.booleans())
def test_a_plan_without_a_note_keeps_the_limit_and_takes_no_more_than_it_must(
    targets, resource, limit, is_soft, cascade
):
    """Whatever the servers are; the last one that was chosen was needed."""
    mine = [each for each in targets if each.project_id == "p"]
    usage = sum(each.amount(resource) for each in mine)
    soft = frozenset({resource}) & SOFT if is_soft else frozenset()
    if usage <= limit:
        return
    violation = Violation("p", None, resource, limit, usage)
    found = plan([violation], targets, soft=soft, cascade=cascade, system_volumes=True)
    assert all(each.target.project_id == "p" for each in found.actions)
    gone = {each.target.id: each.kind for each in found.actions}

    def left(without):
        total = 0
        for each in mine:
            kind = None if each.id == without else gone.get(each.id)
            off = kind == SHUTDOWN or not each.running
            relieved = off if resource in soft or resource in (quota.CPU, quota.RAM) else False
            if kind != REMOVE and not relieved:
                total += each.amount(resource)
        return total

    if not found.notes:
        assert left(None) <= limit
        assert not gone or any(left(each) > limit for each in gone)
