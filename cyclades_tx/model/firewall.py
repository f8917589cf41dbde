"""Which of a cluster's firewall profiles the rules of a port ask for, and the tags that say so.

A cluster filters by one of three profiles for each interface, not by rules. The filter must never
stop what a rule lets in, so a port gets the strictest profile that lets all of it in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cyclades_tx.model.differences import FIREWALL_TAG, FIREWALLS

#: Nothing comes in but answers.
ENABLED = "ENABLED"
#: Only what the site has chosen comes in.
PROTECTED = "PROTECTED"
#: Everything passes: this has no tag.
DISABLED = "DISABLED"

#: So often in a row the tags of a server are tried; then a new wish must come.
MOST_TRIES = 10

_WORDS = {profile: word for word, profile in FIREWALLS.items()}
_NAMES = {"1": "icmp", "6": "tcp", "17": "udp", "58": "ipv6-icmp", "icmpv6": "ipv6-icmp"}
_MOST_PORT = 65535


@dataclass(frozen=True)
class PortRule:
    """What of a rule matters here: what it lets in.

    :ivar by_group: whether the other side is a group: other machines, whatever they send.
    """

    direction: str
    ethertype: str
    protocol: str | None
    first: int | None = None
    last: int | None = None
    by_group: bool = False


@dataclass(frozen=True)
class PortRules:
    """A port of a server with its rules.

    :ivar profile: what the tags of the instance gave its interface when it was last seen.
    """

    port_id: int
    profile: str | None
    rules: tuple[PortRule, ...]


@dataclass(frozen=True)
class LetIn:
    """One kind of traffic that a site lets in at the profile ``limited``."""

    protocol: str
    first: int = 0
    last: int = _MOST_PORT


def let_in_from(texts: Iterable[str]) -> tuple[LetIn, ...]:
    """Read ``icmp``, ``tcp/22``, ``udp/6000-6010`` …"""
    found = []
    for text in texts:
        protocol, slash, ports = text.partition("/")
        first, _, last = ports.partition("-")
        low, high = sorted((int(first), int(last or first))) if slash else (0, _MOST_PORT)
        found.append(LetIn(_NAMES.get(protocol, protocol), low, high))
    return tuple(found)


def profile_of(rules: Iterable[PortRule], limited: Iterable[LetIn]) -> str:
    """The strictest profile that lets in everything that the rules let in.

    :param limited: what the site lets in at ``limited``; empty: it has not said.
    """
    ingress = [rule for rule in rules if rule.direction == "ingress"]
    if not ingress:
        return ENABLED
    known = tuple(limited)
    if all(any(_within(rule, each) for each in known) for rule in ingress):
        return PROTECTED
    return DISABLED


def _within(rule: PortRule, let_in: LetIn) -> bool:
    if rule.by_group or rule.protocol is None:
        return False
    protocol = _NAMES.get(rule.protocol, rule.protocol)
    if protocol == "icmp" and rule.ethertype == "IPv6":
        protocol = "ipv6-icmp"
    if protocol != let_in.protocol:
        return False
    if let_in.first == 0 and let_in.last == _MOST_PORT:
        return True
    if rule.first is None or rule.last is None:
        return False
    return let_in.first <= rule.first and rule.last <= let_in.last


def tags(wanted: Mapping[str, str]) -> tuple[str, ...]:
    """The tags of an instance for its interfaces.

    :param wanted: the profile of each interface by its name.
    """
    return tuple(
        FIREWALL_TAG.format(nic=nic, word=_WORDS[profile])
        for nic, profile in sorted(wanted.items())
        if profile != DISABLED
    )


def missing(there: Iterable[str], wanted: Mapping[str, str]) -> tuple[str, ...]:
    """The tags that an instance does not have yet."""
    kept = frozenset(there)
    return tuple(tag for tag in tags(wanted) if tag not in kept)


def leftover(there: Iterable[str], wanted: Mapping[str, str]) -> tuple[str, ...]:
    """The tags of an instance that say something else of the named interfaces."""
    right = frozenset(tags(wanted))
    ours = {FIREWALL_TAG.format(nic=nic, word=word) for nic in wanted for word in FIREWALLS}
    return tuple(sorted(ours.intersection(there) - right))


def differs(ports: Iterable[PortRules], limited: Iterable[LetIn]) -> bool:
    """Whether an interface has another profile than its rules ask for."""
    known = tuple(limited)
    return any((port.profile or DISABLED) != profile_of(port.rules, known) for port in ports)
