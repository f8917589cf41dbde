"""Which cluster takes a new server, and why the others do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

#: Every server counts as this many virtual CPUs, and a CPU carries at most so many of them.
VCPUS_PER_SERVER = 4
VCPUS_PER_CPU = 3

AFFINITY = "affinity"
ANTI_AFFINITY = "anti-affinity"
SOFT_AFFINITY = "soft-affinity"
SOFT_ANTI_AFFINITY = "soft-anti-affinity"
#: What a group of servers may want. A host is a cluster here: on which of its nodes a server
#: runs is Ganeti's to decide, and Ganeti may move it.
POLICIES = (AFFINITY, ANTI_AFFINITY, SOFT_AFFINITY, SOFT_ANTI_AFFINITY)


@dataclass(frozen=True)
class Candidate:
    """A cluster as the database knows it; sizes in MiB."""

    id: int
    name: str
    drained: bool
    offline: bool
    public: bool
    reachable: bool | None
    disk_templates: frozenset[str]
    memory_free_mib: int
    memory_total_mib: int
    disk_free_mib: int
    disk_total_mib: int
    cpus: int
    instances: int
    mapped: bool = False


@dataclass(frozen=True)
class Company:
    """The group that the new server will be in.

    :ivar policy: one of :data:`POLICIES`.
    :ivar most_per_cluster: with ``anti-affinity``: so many of them may share a cluster.
    :ivar servers: how many of them there are on each cluster, by its id.
    """

    policy: str
    most_per_cluster: int = 1
    servers: Mapping[int, int] = field(default_factory=dict)

    def refusal(self, cluster_id: int) -> str:
        """Why the group does not go together with a cluster; empty when it does."""
        here = self.servers.get(cluster_id, 0)
        if self.policy == AFFINITY and self.servers and not here:
            return "the servers of the group are elsewhere (affinity)"
        if self.policy == ANTI_AFFINITY and here >= self.most_per_cluster:
            there = "a server" if here == 1 else f"{here} servers"
            return f"{there} of the group is there already (anti-affinity)"
        return ""

    def dislike(self, cluster_id: int) -> int:
        """How little the group would like a cluster; the lowest is chosen before any load."""
        here = self.servers.get(cluster_id, 0)
        if self.policy in (ANTI_AFFINITY, SOFT_ANTI_AFFINITY):
            return here
        return -here if self.policy == SOFT_AFFINITY else 0


@dataclass(frozen=True)
class Need:
    """What the new server asks of a cluster; sizes in MiB.

    :ivar home: the id of the only cluster that has the disk that it boots from; None: any will do.
    """

    memory_mib: int
    disk_mib: int
    disk_template: str
    zone: str | None = None
    company: Company | None = None
    home: int | None = None

    @property
    def charged_disk_mib(self) -> int:
        """Mirrored disks take twice their size, and servers without disks none."""
        if self.disk_template == "diskless":
            return 0
        return self.disk_mib * 2 if self.disk_template == "drbd" else self.disk_mib


#: What users are told of clusters without room.
NO_MEMORY = "not enough memory is free"
NO_DISK = "not enough disk is free"
#: What users are told of clusters that could take the server at another time.
NOT_NOW = "clusters take no servers at the moment"


class Why(NamedTuple):
    """Why a cluster does not take a server.

    :ivar sentence: for those who run the cloud, with figures; empty: it takes it.
    :ivar kind: for users, without any; empty: the cluster is none of theirs.
    """

    sentence: str
    kind: str = ""


@dataclass(frozen=True)
class Placement:
    """The choice.

    :ivar chosen: the cluster, or None.
    :ivar reasons: for each cluster that was not taken, by name, a sentence with figures.
    :ivar kinds: when none was taken: the kinds of reasons, without figures, for users.
    """

    chosen: Candidate | None
    reasons: dict[str, str]
    kinds: tuple[str, ...] = ()


def choose(candidates: Iterable[Candidate], need: Need) -> Placement:
    """Choose the cluster with the lowest load among those that can take the server.

    A project with clusters mapped to it uses those only; others use the public ones. Too
    little free memory or disk leaves a cluster out. Too few CPUs only put it behind the others:
    CPUs can be shared by more, memory cannot.
    """
    everyone = sorted(candidates, key=lambda each: each.id)
    mapped = any(each.mapped for each in everyone)
    reasons: dict[str, str] = {}
    kinds: set[str] = set()
    usable: list[Candidate] = []
    for each in everyone:
        refusal = _refusal(each, need, mapped) or _lack(each, need)
        if refusal:
            reasons[each.name] = refusal.sentence
            kinds.add(refusal.kind)
        else:
            usable.append(each)
    if not usable:
        return Placement(None, reasons, tuple(sorted(kinds - {""})))
    roomy = [each for each in usable if not _crowded(each)]
    company = need.company or Company(SOFT_AFFINITY)
    chosen = min(roomy or usable, key=lambda each: (company.dislike(each.id), score(each), each.id))
    for each in usable:
        if each is not chosen:
            crowded = bool(roomy) and _crowded(each)
            liked = company.dislike(each.id) <= company.dislike(chosen.id)
            why = "its load is higher" if liked else f"the group prefers another ({company.policy})"
            reasons[each.name] = "its CPUs are taken" if crowded else why
    return Placement(chosen, reasons)


def with_server(
    candidates: Iterable[Candidate], chosen: Candidate, need: Need
) -> tuple[Candidate, ...]:
    """The clusters when one of them has taken the server."""
    return tuple(
        replace(
            each,
            memory_free_mib=max(each.memory_free_mib - need.memory_mib, 0),
            disk_free_mib=max(each.disk_free_mib - need.charged_disk_mib, 0),
            instances=each.instances + 1,
        )
        if each.id == chosen.id
        else each
        for each in candidates
    )


def _refusal(each: Candidate, need: Need, mapped: bool) -> Why | None:
    if need.home is not None and each.id != need.home:
        return Why("the disk of the volume is on another cluster")
    if mapped and not each.mapped:
        return Why("the project uses clusters of its own")
    if not mapped and not each.public:
        return Why("it is not public")
    if need.zone is not None and need.zone != each.name:
        return Why(f"it is not the availability zone {need.zone}")
    if each.offline:
        return Why("it is offline", NOT_NOW)
    if each.drained:
        return Why("it is drained: it takes no new servers", NOT_NOW)
    if each.reachable is False:
        return Why("it does not answer at the moment", NOT_NOW)
    if not each.disk_templates:
        return Why("it was not asked yet what it has", NOT_NOW)
    if need.disk_template not in each.disk_templates:
        kind = f"disks of the kind {need.disk_template}"
        return Why(f"it has no {kind}", f"a cluster with {kind} is needed")
    if need.company is not None and (against := need.company.refusal(each.id)):
        return Why(against, against)
    return None


def _lack(each: Candidate, need: Need) -> Why | None:
    if each.memory_total_mib == 0:
        return None  # it was never asked for its numbers
    if need.charged_disk_mib and each.disk_free_mib <= need.charged_disk_mib:
        needed = f"{need.charged_disk_mib} are needed"
        return Why(f"{each.disk_free_mib} MiB of disk are free, {needed}", NO_DISK)
    if each.memory_free_mib <= need.memory_mib:
        needed = f"{need.memory_mib} are needed"
        return Why(f"{each.memory_free_mib} MiB of memory are free, {needed}", NO_MEMORY)
    return None


def _crowded(each: Candidate) -> bool:
    return (each.instances + 1) * VCPUS_PER_SERVER >= each.cpus * VCPUS_PER_CPU


def score(each: Candidate) -> float:
    """The load of a cluster; lower is better."""
    memory = 1 - each.memory_free_mib / each.memory_total_mib if each.memory_total_mib else 0.0
    disk = 1 - each.disk_free_mib / each.disk_total_mib if each.disk_total_mib else 0.0
    cpu = (
        (each.instances + 1) * VCPUS_PER_SERVER / (each.cpus * VCPUS_PER_CPU) if each.cpus else 1.0
    )
    return 0.5 * cpu + 0.5 * (memory + disk)
