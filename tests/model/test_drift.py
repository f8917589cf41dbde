"""The planner of drift: what is wrong, and how far it may be mended by itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclades_tx.model import differences as d
from cyclades_tx.model import drift
from cyclades_tx.model.differences import (
    PortRecord,
    ServerRecord,
    VolumeRecord,
    differences,
    firewall_of,
)
from cyclades_tx.model.drift import (
    Claim,
    Finding,
    Memory,
    Remedy,
    Rules,
    SentJob,
    decide,
    fixed_by,
    is_mass,
    judge,
    judge_job,
    judge_unclaimed,
)
from cyclades_tx.model.instance import Instance, Power, SeenDisk, SeenNic
from cyclades_tx.model.job import Job, JobStatus
from cyclades_tx.model.names import Names
from cyclades_tx.model.ownership import owner_tag

NAMES = Names()
NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
RULES = Rules(timedelta(hours=1), removes_orphans=True, most_failures=3)

PORT = PortRecord(7, 3, 0, "aa:00:00:00:00:07", ("10.0.0.7",))
VOLUME = VolumeRecord(9, 0, 10)
SERVER = ServerRecord(
    42, 1, "active", "on", 2, 1024, (PORT,), (VOLUME,), disks_gib=10, launched=True
)
NIC = SeenNic("snf-nic-7", "aa:00:00:00:00:07", "10.0.0.7", "snf-net-3", "u7")
DISK = SeenDisk("snf-vol-9", 10 * 1024, "u9")
INSTANCE = Instance(
    "snf-42", "running", Power.RUNNING, "n1", 2, 1024, nics=(NIC,), disks=(DISK,), serial=1
)
DOWN = replace(INSTANCE, status="ADMIN_down", power=Power.STOPPED)
LOST = replace(INSTANCE, status="ERROR_nodedown", power=Power.UNKNOWN)


def kinds(record: ServerRecord, seen: Instance | None) -> list[tuple[str, Remedy]]:
    """What is found, and what is to be done about it."""
    return [(each.kind, each.remedy) for each in judge(record, seen, NAMES)]


def test_what_is_the_same_is_no_finding() -> None:
    """The commonest case by far."""
    assert judge(SERVER, INSTANCE, NAMES) == []


@pytest.mark.parametrize(
    ("record", "seen", "found"),
    [
        ({}, None, [(drift.STALE, Remedy.RECORD)]),
        ({}, DOWN, [(drift.POWER, Remedy.RECORD)]),
        ({}, LOST, [(drift.UNKNOWN_POWER, Remedy.OPERATOR)]),
        ({"state": "stopped", "charge": "off"}, INSTANCE, [(drift.POWER, Remedy.RECORD)]),
        ({"state": "building", "charge": "none"}, None, [(drift.LOST_BUILD, Remedy.RECORD)]),
        ({"state": "building", "charge": "none"}, INSTANCE, [(drift.LOST_BUILD, Remedy.RECORD)]),
        ({"state": "building", "charge": "none"}, LOST, [(drift.UNKNOWN_POWER, Remedy.OPERATOR)]),
        ({"state": "error"}, None, [(drift.LOST_BUILD, Remedy.RECORD)]),
        ({"state": "error"}, INSTANCE, [(drift.RISEN, Remedy.RECORD)]),
        ({"state": "error", "charge": "none"}, INSTANCE, [(drift.RISEN, Remedy.REMOVE)]),
        ({"state": "error", "charge": "none"}, None, []),
        ({"vcpus": 1}, INSTANCE, [(d.SIZE, Remedy.RECORD)]),
        ({"memory_mib": 1}, INSTANCE, [(d.SIZE, Remedy.RECORD)]),
        ({"moving": True}, None, []),
        ({"fresh": True}, DOWN, []),
    ],
)
def test_a_server_and_its_instance(
    record: dict[str, Any], seen: Instance | None, found: list[Any]
) -> None:
    """Each way in which they can differ as a whole."""
    assert kinds(replace(SERVER, **record), seen) == found


@pytest.mark.parametrize("tags", [(), (owner_tag("other"),)])
@pytest.mark.parametrize("state", ["error", "building"])
@pytest.mark.parametrize("charge", ["none", "on"])
def test_another_s_instance_under_the_server_s_name_is_left_to_an_operator(
    tags: tuple[str, ...], state: str, charge: str
) -> None:
    """It is neither removed nor taken over, whatever became of the creation."""
    record = replace(SERVER, state=state, charge=charge, uuid="u", launched=False)
    theirs, own = replace(INSTANCE, tags=tags), replace(INSTANCE, tags=(owner_tag("u"),))
    assert kinds(record, theirs) == [(drift.STRANGER, Remedy.OPERATOR)]
    assert drift.STRANGER not in [kind for kind, _ in kinds(record, own)]


@pytest.mark.parametrize(
    ("nic", "fields"),
    [
        ({"mac": "aa:00:00:00:00:08"}, ("mac",)),
        ({"mac": "AA:00:00:00:00:07"}, None),
        ({"ip": "10.0.0.8"}, ("ip",)),
        ({"ip": None}, ("ip",)),
        ({"network": "snf-net-4"}, ("network",)),
        ({"network": None}, ("network",)),
        ({"network": "br-lan"}, ("network",)),
        ({"uuid": "other"}, None),
    ],
)
def test_an_interface_and_its_port(nic: dict[str, Any], fields: tuple[str, ...] | None) -> None:
    """Field by field."""
    found = differences(SERVER, replace(INSTANCE, nics=(replace(NIC, **nic),)), NAMES)
    if fields is None:
        assert found == ()
    else:
        (differs,) = found
        assert isinstance(differs, d.NicDiffers)
        assert differs.fields == fields


def test_an_interface_is_known_by_its_uuid_under_any_name() -> None:
    """One that an operator added, or that was renamed."""
    port = replace(PORT, ganeti_uuid="u7")
    record = replace(SERVER, ports=(port,))
    for name in (None, "eth0", "snf-nic-8"):
        renamed = replace(INSTANCE, nics=(replace(NIC, name=name),))
        assert differences(record, renamed, NAMES) == ()


def test_one_that_comes_before_another_moves_it() -> None:
    """The new one has no port, the old one another place."""
    new = SeenNic(None, "aa:00:00:00:00:99", None, "snf-net-3", "u99")
    extra, differs = sorted(
        differences(SERVER, replace(INSTANCE, nics=(new, NIC)), NAMES), key=lambda f: f.kind
    )[::-1]
    assert isinstance(extra, d.NicExtra) and extra.position == 0 and extra.network_id == 3
    assert isinstance(differs, d.NicDiffers) and differs.fields == ("position",)


def test_what_is_gone_comes_before_what_has_come() -> None:
    """So that its address is free again."""
    new = SeenNic(None, NIC.mac, NIC.ip, NIC.network, "u99")
    found = differences(SERVER, replace(INSTANCE, nics=(new,)), NAMES)
    assert [each.kind for each in found] == [d.NIC_MISSING, d.NIC_EXTRA]


@pytest.mark.parametrize(
    ("disks", "found"),
    [
        ((), [d.DISK_MISSING]),
        ((replace(DISK, size_mib=11 * 1024),), [d.DISK_DIFFERS]),
        ((replace(DISK, size_mib=10 * 1024 + 1023),), []),
        ((DISK, SeenDisk(None, 512)), [d.DISK_EXTRA]),
        ((SeenDisk("root", 10 * 1024, "u9"),), [d.DISK_MISSING, d.DISK_EXTRA]),
    ],
)
def test_disks_and_volumes(disks: tuple[SeenDisk, ...], found: list[str]) -> None:
    """Missing, added, of another size; the rest of a GiB is nothing."""
    seen = differences(SERVER, replace(INSTANCE, disks=disks), NAMES)
    assert [each.kind for each in seen] == found


def test_a_diskless_server_misses_no_disk() -> None:
    """Its root volume is a figure only."""
    assert differences(replace(SERVER, diskless=True), replace(INSTANCE, disks=()), NAMES) == ()


@pytest.mark.parametrize(
    ("words", "profile"),
    [
        ((), None),
        (("protected",), "ENABLED"),
        (("unprotected",), "DISABLED"),
        (("limited",), "PROTECTED"),
        (("unprotected", "protected"), "ENABLED"),
        (("other",), None),
    ],
)
def test_the_tags_of_a_firewall(words: tuple[str, ...], profile: str | None) -> None:
    """The strictest wins; foreign tags say nothing."""
    tags = ["web", *(f"synnefo:network:snf-nic-7:{word}" for word in words)]
    assert firewall_of(tags, "snf-nic-7") == profile
    assert firewall_of(tags, "snf-nic-8") is None


@pytest.mark.parametrize(
    ("claim", "found"),
    [
        (None, (drift.STRANGER, Remedy.OPERATOR)),
        (Claim(42, 1, deleted=True, launched=True), (drift.ORPHAN, Remedy.REMOVE)),
        (Claim(42, 1, deleted=True), (drift.STRANGER, Remedy.OPERATOR)),
        (Claim(42, 1, deleted=True, fresh=True), None),
        (Claim(42, 1, deleted=False), None),
        (Claim(42, 2, deleted=True), (drift.ELSEWHERE, Remedy.OPERATOR)),
        (Claim(42, 2, deleted=False, missed=True), (drift.ELSEWHERE, Remedy.OPERATOR)),
        (Claim(42, 2, deleted=False), (drift.TWICE, Remedy.OPERATOR)),
        (Claim(42, None, deleted=False), (drift.TWICE, Remedy.OPERATOR)),
    ],
)
def test_an_instance_without_a_server_here(claim: Claim | None, found: Any) -> None:
    """Only what we surely made on this cluster is ever ours to remove."""
    finding = judge_unclaimed(INSTANCE, claim, 1, NAMES)
    assert (None if finding is None else (finding.kind, finding.remedy)) == found


@pytest.mark.parametrize(
    ("status", "ended_before", "sent_before", "late"),
    [
        (JobStatus.RUNNING, None, 3600, False),
        (JobStatus.SUCCESS, 3000, 3600, True),
        (JobStatus.ERROR, 3000, 3600, True),
        (JobStatus.UNKNOWN, None, 3600, True),
        (JobStatus.SUCCESS, 30, 3600, False),
        (JobStatus.SUCCESS, 3600, 30, False),
    ],
)
def test_a_job_that_is_over_and_was_not_noticed(
    status: JobStatus, ended_before: int | None, sent_before: int, late: bool
) -> None:
    """A cluster whose clock is behind makes nothing late that was just sent."""
    ended_at = None if ended_before is None else NOW - timedelta(seconds=ended_before)
    sent = SentJob(
        5, 42, "stop", Job(9, status, ended_at=ended_at), NOW - timedelta(seconds=sent_before)
    )
    assert (judge_job(sent, NOW) is not None) is late


ORPHAN = Finding(drift.ORPHAN, "snf-42", "x", Remedy.REMOVE, 42)
WRONG = Finding(drift.POWER, "server 42", "x", Remedy.RECORD, 42)


@pytest.mark.parametrize(
    ("finding", "memory", "rules", "remedy"),
    [
        (WRONG, None, {}, Remedy.RECORD),
        (WRONG, {"failures": 2}, {}, Remedy.RECORD),
        (WRONG, {"failures": 3}, {}, Remedy.GAVE_UP),
        (WRONG, {"failures": 3, "wanted": True}, {}, Remedy.RECORD),
        (ORPHAN, None, {}, Remedy.WAIT),
        (ORPHAN, {"age": 59}, {}, Remedy.WAIT),
        (ORPHAN, {"age": 60}, {}, Remedy.REMOVE),
        (ORPHAN, {"age": 60}, {"removes_orphans": False}, Remedy.OPERATOR),
        (ORPHAN, {"wanted": True}, {"removes_orphans": False}, Remedy.REMOVE),
        (ORPHAN, {"age": 60, "failures": 3}, {}, Remedy.GAVE_UP),
        (ORPHAN, {"age": 60, "job_id": 8}, {}, Remedy.WAIT),
        (replace(ORPHAN, kind=drift.STRANGER, remedy=Remedy.OPERATOR), {"wanted": True}, {},
         Remedy.OPERATOR),
    ],
)  # fmt: skip
def test_what_is_done_by_itself(
    finding: Finding, memory: dict[str, Any] | None, rules: dict[str, Any], remedy: Remedy
) -> None:
    """Records follow at once; what changes a cluster waits, is bounded, and is given up."""
    memories = {}
    if memory is not None:
        age = timedelta(minutes=memory.pop("age", 0))
        memories[finding.key] = Memory(NOW - age, **memory)
    (decided,) = decide([finding], memories, replace(RULES, **rules), NOW)
    assert decided.remedy == remedy
    assert decided.plan


@pytest.mark.parametrize(
    ("missing", "servers", "mass"), [(5, 9, False), (5, 10, False), (6, 10, True), (0, 10, False)]
)
def test_more_than_half_at_once_is_not_believed(missing: int, servers: int, mass: bool) -> None:
    """Of a cluster that has some."""
    assert is_mass(missing, servers) is mass


def test_every_kind_that_is_mended_has_an_option() -> None:
    """And what is left to a person has none."""
    by_option = {kind for found in drift.FIXES.values() for kind in found}
    by_hand = {drift.STRANGER, drift.ELSEWHERE, drift.TWICE, drift.UNKNOWN_POWER}
    assert by_option | by_hand == {
        drift.STALE, drift.ORPHAN, drift.STRANGER, drift.POWER, drift.UNKNOWN_POWER,
        drift.ELSEWHERE, drift.TWICE, drift.LOST_BUILD, drift.UNREPORTED, drift.RISEN, d.SIZE,
        d.NIC_MISSING, d.NIC_EXTRA, d.NIC_DIFFERS, d.DISK_MISSING, d.DISK_EXTRA, d.DISK_DIFFERS,
    }  # fmt: skip
    assert not by_option & by_hand
    risen = Finding(drift.RISEN, "server 42", "x", Remedy.REMOVE, 42)
    assert fixed_by(risen, ["orphans"]) and not fixed_by(risen, ["unsynced"])
    turned_up = replace(risen, remedy=Remedy.RECORD)
    assert fixed_by(turned_up, ["unsynced"]) and not fixed_by(turned_up, ["orphans"])


_IDS = st.integers(1, 6)
_NICS = st.lists(
    st.builds(
        SeenNic,
        name=st.none() | _IDS.map(lambda n: f"snf-nic-{n}") | st.just("eth0"),
        mac=_IDS.map(lambda n: f"aa:00:00:00:00:0{n}"),
        ip=st.none() | _IDS.map(lambda n: f"10.0.0.{n}"),
        network=st.none() | _IDS.map(lambda n: f"snf-net-{n}") | st.text(max_size=5),
        uuid=st.just("") | _IDS.map(str),
    ),
    max_size=4,
).map(tuple)
_DISKS = st.lists(
    st.builds(
        SeenDisk,
        name=st.none() | _IDS.map(lambda n: f"snf-vol-{n}"),
        size_mib=st.integers(0, 9000),
        uuid=st.just("") | _IDS.map(str),
    ),
    max_size=4,
).map(tuple)
_PORTS = st.lists(
    st.builds(
        PortRecord,
        id=_IDS,
        network_id=_IDS,
        position=st.integers(0, 5),
        mac=_IDS.map(lambda n: f"aa:00:00:00:00:0{n}"),
        ips=st.lists(_IDS.map(lambda n: f"10.0.0.{n}"), max_size=2).map(tuple),
        ganeti_uuid=st.just("") | _IDS.map(str),
    ),
    max_size=4,
    unique_by=lambda port: port.id,
).map(tuple)


@given(_PORTS, _NICS, _DISKS, st.sampled_from(Power))
def test_every_interface_and_disk_is_accounted_for_once(
    ports: tuple[PortRecord, ...],
    nics: tuple[SeenNic, ...],
    disks: tuple[SeenDisk, ...],
    power: Power,
) -> None:
    """Whatever stands there: each is matched or extra, each port matched or missing."""
    record = replace(SERVER, ports=ports)
    seen = replace(INSTANCE, nics=nics, disks=disks, power=power)
    found = differences(record, seen, NAMES)
    missing = [each.port.id for each in found if isinstance(each, d.NicMissing)]
    extra = [each.position for each in found if isinstance(each, d.NicExtra)]
    differing = [each.position for each in found if isinstance(each, d.NicDiffers)]
    assert len(set(missing)) == len(missing)
    assert len({*extra, *differing}) == len(extra) + len(differing)
    assert len(ports) - len(missing) == len(nics) - len(extra)
    extra_disks = [each for each in found if isinstance(each, d.DiskExtra)]
    missing_disks = [each for each in found if isinstance(each, d.DiskMissing)]
    assert 1 - len(missing_disks) == len(disks) - len(extra_disks)
    for finding in judge(record, seen, NAMES):
        assert finding.sentence and finding.subject.startswith("server 42")


@given(
    st.text(max_size=30) | _IDS.map(lambda n: f"snf-{n}"),
    st.none()
    | st.builds(
        Claim,
        _IDS,
        st.none() | _IDS,
        st.booleans(),
        st.booleans(),
        uuid=st.just("u"),
        launched=st.booleans(),
    ),
    st.sampled_from([(), (owner_tag("u"),), (owner_tag("other"),)]),
)
def test_nothing_is_ever_removed_that_we_did_not_make_here(
    name: str, claim: Claim | None, tags: tuple[str, ...]
) -> None:
    """Whatever its name is."""
    finding = judge_unclaimed(replace(INSTANCE, name=name, tags=tags), claim, 1, NAMES)
    if finding is not None and finding.remedy is Remedy.REMOVE:
        assert claim is not None and claim.deleted and claim.cluster_id == 1
        assert tags == (owner_tag("u"),) or (claim.launched and not tags)


def test_what_is_told_twice_is_one_finding() -> None:
    """As of two interfaces with one MAC address."""
    assert len(decide([WRONG, WRONG], {}, RULES, NOW)) == 1
