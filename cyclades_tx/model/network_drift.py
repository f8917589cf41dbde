"""What differs between our networks and those of one cluster, and what mends each difference.

A function of values, like the planner of operations: the loop and the operator's command ask it
the same question and do what it says. Nothing here is dangerous by itself: making and removing
go through operations, which look at the cluster first; what is not surely ours is only told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from cyclades_tx.model.instance import SeenNetwork
from cyclades_tx.model.names import Names
from cyclades_tx.model.network_record import KnownNetwork
from cyclades_tx.model.operation import backoff_seconds


class Remedy(StrEnum):
    """What mends a finding."""

    #: Our record is brought to what the cluster has.
    RECORD = "record"
    #: An operation makes, connects or adopts the network.
    MAKE = "make"
    #: An operation disconnects and removes the network.
    REMOVE = "remove"
    #: Only a person can tell what is right.
    OPERATOR = "operator"


#: On the cluster with our prefix, but not in our records.
ORPHAN = "orphan"
#: Deleted in our records, but still there.
UNDELETED = "undeleted"
#: Deleted in our records and not there, but its record of this cluster is left.
LEFTOVER = "leftover"
#: Should be there and is not.
MISSING = "missing"
#: Is there, but there is no record that it is.
UNRECORDED = "unrecorded"
#: Not connected to every node group.
UNCONNECTED = "unconnected"
#: Neither usable nor in motion.
STALLED = "stalled"
#: The record of its MAC prefix differs.
MAC_PREFIX = "mac_prefix"
#: Subnet, gateway, connection or tags differ.
DIFFERENT = "different"
#: The cluster gives an address to nobody that we would give out.
RESERVED = "reserved"
#: We hold an address that the cluster no longer reserves.
UNRESERVED = "unreserved"
#: The cluster reserves an address that somebody has.
RESERVED_IN_USE = "reserved_in_use"


_MAC_PREFIX = re.compile(r"^([0-9a-f]{2}:){2}[0-9a-f]{2}$")

#: The states of a record of a deleted network whose removal was asked for, and has failed.
_TO_REMOVE = ("removing", "error")

#: Beside MISSING: it stood there before.
_WAS_THERE = ("stood",)


@dataclass(frozen=True)
class Rules:
    """How patient the repair is.

    :ivar grace: how long a network that should be gone is left before it is removed.
    :ivar removes: whether it is removed then without being asked for.
    :ivar most_failures: after so many failures in a row only an operator tries again.
    :ivar fewest_of_a_mass: of so many networks or more, half may not be missing at once: then
        it is rather the wrong cluster, and nothing is made there before an operator has looked.
    """

    grace: timedelta = timedelta(days=1)
    removes: bool = False
    most_failures: int = 5
    fewest_of_a_mass: int = 10
    first_pause_seconds: float = 60.0
    longest_pause_seconds: float = 3600.0


RULES = Rules()


@dataclass(frozen=True)
class NetworkFinding:
    """One thing that is wrong.

    :ivar network_id: None for an orphan without a number.
    :ivar subject: the network's name at the cluster.
    :ivar sentence: what is wrong, and what is done or can be done about it.
    :ivar not_before: the loop waits until then; an operator need not.
    :ivar given_up: the loop tries no more.
    :ivar held_back: rather the whole cluster is wrong.
    :ivar values: addresses, or the MAC prefix, that the remedy is about.
    """

    kind: str
    network_id: int | None
    subject: str
    sentence: str
    remedy: Remedy
    not_before: datetime | None = None
    given_up: bool = False
    held_back: bool = False
    values: tuple[str, ...] = ()

    def due(self, now: datetime) -> bool:
        """Whether the loop mends it now."""
        return (
            self.remedy is not Remedy.OPERATOR
            and not self.given_up
            and (self.not_before is None or self.not_before <= now)
        )


def plan_networks(
    names: Names,
    known: Mapping[int, KnownNetwork],
    seen: Iterable[SeenNetwork],
    groups: tuple[str, ...],
    first_seen: Mapping[tuple[str, str], datetime],
    now: datetime,
    rules: Rules = RULES,
) -> tuple[NetworkFinding, ...]:
    """Everything that is wrong with the networks of one cluster.

    :param known: our networks by id, among them every one whose name was seen.
    :param seen: the cluster's networks; what has not our prefix is left alone.
    :param groups: the cluster's node groups.
    :param first_seen: when a (kind, subject) was first found.
    :param now: aware UTC.
    """
    found: list[NetworkFinding] = []
    there: dict[int, SeenNetwork] = {}
    for network in seen:
        if not network.name.startswith(f"{names.prefix}net-"):
            continue
        network_id = names.network_id(network.name)
        if network_id is None or network_id not in known:
            found.append(_orphan(network, network_id))
        else:
            there[network_id] = network
    for network_id, ours in sorted(known.items()):
        if ours.busy:
            continue
        name, theirs = names.network(network_id), there.get(network_id)
        if not ours.live:
            found += _deleted(name, ours, theirs, first_seen, now, rules)
        elif theirs is None:
            found += _absent(name, ours, rules)
        else:
            found += _standing(name, ours, theirs, groups, rules)
            found += _different(name, ours, theirs)
            found += _reserved(name, ours)
    return tuple(_hold_back(found, known.values(), rules))


def _hold_back(
    found: list[NetworkFinding], known: Iterable[KnownNetwork], rules: Rules
) -> list[NetworkFinding]:
    """Believe in no loss of more than half of the networks at once."""
    stand = sum(each.live and each.state == "active" for each in known)
    lost = {each.network_id for each in found if each.kind == MISSING and each.values == _WAS_THERE}
    if stand < rules.fewest_of_a_mass or 2 * len(lost) <= stand:
        return found
    more = (
        f" {len(lost)} of {stand} networks are missing at once: see whether this is the right"
        " cluster; snf-manage reconcile-networks --fix-missing makes them."
    )
    return [
        replace(each, sentence=each.sentence + more, given_up=True, held_back=True)
        if each.kind == MISSING and each.network_id in lost
        else each
        for each in found
    ]


def _orphan(network: SeenNetwork, network_id: int | None) -> NetworkFinding:
    sentence = (
        f"Network {network.name} has our prefix but is not in our records; another service may "
        "own it. If it is surely nobody's, remove it at the cluster: gnt-network disconnect"
        f" {network.name}; gnt-network remove {network.name}."
    )
    return NetworkFinding(ORPHAN, network_id, network.name, sentence, Remedy.OPERATOR)


def _deleted(
    name: str,
    ours: KnownNetwork,
    theirs: SeenNetwork | None,
    first_seen: Mapping[tuple[str, str], datetime],
    now: datetime,
    rules: Rules,
) -> list[NetworkFinding]:
    if theirs is None:
        if ours.state is None:
            return []
        sentence = f"Network {name} was deleted and is gone, but its record here was left."
        return [NetworkFinding(LEFTOVER, ours.id, name, sentence, Remedy.RECORD)]
    if theirs.instances:
        sentence = (
            f"Network {name} was deleted, but {theirs.instances} instances of the cluster have"
            " interfaces on it; take these off first."
        )
        return [NetworkFinding(UNDELETED, ours.id, name, sentence, Remedy.OPERATOR)]
    if ours.state in _TO_REMOVE:
        sentence = f"Network {name} was deleted but is still there; its removal is tried again."
        finding = NetworkFinding(UNDELETED, ours.id, name, sentence, Remedy.REMOVE)
        return [_patient(finding, ours, rules)]
    since = first_seen.get((UNDELETED, name), now)
    due = since + rules.grace
    sentence = f"Network {name} was deleted but is still there, with nothing on it;" + (
        f" it is removed after {due:%Y-%m-%d %H:%M} UTC."
        if rules.removes
        else " snf-manage reconcile-networks --fix-undeleted removes it."
    )
    finding = NetworkFinding(
        UNDELETED,
        ours.id,
        name,
        sentence,
        Remedy.REMOVE,
        not_before=due,
        given_up=not rules.removes,
    )
    return [_patient(finding, ours, rules)]


def _absent(name: str, ours: KnownNetwork, rules: Rules) -> list[NetworkFinding]:
    if ours.state is None and not ours.usable:
        return []
    values: tuple[str, ...] = ()
    if ours.state in ("active", None):
        kind, sentence = MISSING, f"Network {name} is not there; it is made."
        if ours.state == "active":
            values = _WAS_THERE
    else:
        kind, sentence = STALLED, f"Network {name} is not there, and nothing makes it; it is made."
    finding = NetworkFinding(kind, ours.id, name, sentence, Remedy.MAKE, values=values)
    return [_patient(finding, ours, rules)]


def _standing(
    name: str, ours: KnownNetwork, theirs: SeenNetwork, groups: tuple[str, ...], rules: Rules
) -> list[NetworkFinding]:
    connected = {group for group, _, _ in theirs.groups}
    missing = tuple(group for group in groups if group not in connected)
    if ours.state is None:
        kind = UNRECORDED
        sentence = f"Network {name} is there without a record; it is taken into the records."
    elif ours.state != "active":
        kind = STALLED
        sentence = f"Network {name} is there, but its record says {ours.state}; it is looked after."
    elif missing:
        kind = UNCONNECTED
        sentence = f"Network {name} is not connected to {_listed(missing)}; it is connected."
    else:
        return []
    # What still joins it to some group goes along, so that its record stays usable meanwhile.
    joined = tuple(sorted(connected & set(groups)))
    finding = NetworkFinding(kind, ours.id, name, sentence, Remedy.MAKE, values=joined)
    return [_patient(finding, ours, rules)]


def _patient(finding: NetworkFinding, ours: KnownNetwork, rules: Rules) -> NetworkFinding:
    """Wait after failures, longer each time, and stop when there were too many."""
    if not ours.failures:
        return finding
    tried = f" {ours.failures} tries have failed; the last one: {ours.why or 'no reason given'}"
    given_up = ours.failures >= rules.most_failures
    if given_up and not finding.given_up:
        tried += " It is not tried again before an operator asks for it."
    not_before = finding.not_before
    if ours.tried_at is not None:
        pause = backoff_seconds(
            ours.failures, rules.first_pause_seconds, rules.longest_pause_seconds
        )
        after_pause = ours.tried_at + timedelta(seconds=pause)
        not_before = max(not_before or after_pause, after_pause)
    return replace(
        finding,
        sentence=finding.sentence + tried,
        not_before=not_before,
        given_up=given_up or finding.given_up,
    )


def _different(name: str, ours: KnownNetwork, theirs: SeenNetwork) -> list[NetworkFinding]:
    wanted = ours.shape
    if wanted is None:
        return []
    found = []
    prefix = (theirs.mac_prefix or "").lower()
    differences = [
        f"{what} is {has or 'none'} there and {want or 'none'} here"
        for what, want, has in (
            ("the subnet", wanted.cidr, theirs.cidr),
            ("the gateway", wanted.gateway, theirs.gateway),
            ("the IPv6 subnet", wanted.cidr6, theirs.cidr6),
            ("the IPv6 gateway", wanted.gateway6, theirs.gateway6),
        )
        if (want or None) != (has or None)
    ]
    if prefix and prefix != wanted.mac_prefix and ours.state is not None:
        if not _MAC_PREFIX.match(prefix):
            differences.append(f"the MAC prefix there, {prefix[:20]!r}, is none")
        elif wanted.filtered:
            differences.append(
                f"the MAC prefix is {prefix} there and {wanted.mac_prefix} here, where it keeps"
                " the network apart"
            )
        else:
            found.append(
                NetworkFinding(
                    MAC_PREFIX,
                    ours.id,
                    name,
                    f"Network {name} has the MAC prefix {prefix} there; our record of it,"
                    f" {wanted.mac_prefix}, is corrected.",
                    Remedy.RECORD,
                    values=(prefix,),
                )
            )
    for group, mode, link in theirs.groups:
        if (mode, link) != (wanted.mode, wanted.link):
            differences.append(
                f"group {group} is connected as {mode} to {link},"
                f" not as {wanted.mode} to {wanted.link}"
            )
    lacking = sorted(wanted.tags - set(theirs.tags))
    if lacking:
        differences.append(f"it lacks {'tag' if len(lacking) == 1 else 'tags'} {_listed(lacking)}")
    if differences:
        sentence = (
            f"Network {name} is not as it was made: {'; '.join(differences)}."
            " Correct it at the cluster (gnt-network modify, disconnect, add-tags)."
        )
        found.append(NetworkFinding(DIFFERENT, ours.id, name, sentence, Remedy.OPERATOR))
    return found


def _reserved(name: str, ours: KnownNetwork) -> list[NetworkFinding]:
    found = []
    free = tuple(each.address for each in ours.reservations if not each.taken and not each.held)
    taken = tuple(each.address for each in ours.reservations if each.taken)
    over = tuple(sorted(ours.held - {each.address for each in ours.reservations}))
    if free:
        sentence = (
            f"The cluster reserves {_some(free)} of network {name}; this service gives it out"
            " to nobody either from now on."
        )
        found.append(NetworkFinding(RESERVED, ours.id, name, sentence, Remedy.RECORD, values=free))
    if over:
        sentence = f"The cluster no longer reserves {_some(over)} of network {name}; it is free."
        found.append(
            NetworkFinding(UNRESERVED, ours.id, name, sentence, Remedy.RECORD, values=over)
        )
    if taken:
        sentence = (
            f"The cluster reserves {_some(taken)} of network {name}, which somebody has here;"
            " no machine of this cluster can be made with it. Take the reservation away"
            " (gnt-network modify --remove-reserved-ips), or the address from who has it."
        )
        found.append(
            NetworkFinding(RESERVED_IN_USE, ours.id, name, sentence, Remedy.OPERATOR, values=taken)
        )
    return found


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)


def _some(addresses: tuple[str, ...], most: int = 5) -> str:
    more = f" and {len(addresses) - most} more" if len(addresses) > most else ""
    return ", ".join(addresses[:most]) + more
