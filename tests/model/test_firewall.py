"""Which firewall profile the rules of a port ask for, and the tags that say so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclades_tx.model import firewall
from cyclades_tx.model.differences import firewall_of
from cyclades_tx.model.firewall import DISABLED, ENABLED, PROTECTED, PortRule, PortRules

SITE = firewall.let_in_from(("icmp", "tcp/22", "udp/6010-6000"))


def let_in(protocol: str | None, first: int | None = None, last: int | None = None) -> PortRule:
    """A rule for what comes in by IPv4."""
    return PortRule("ingress", "IPv4", protocol, first, last)


@pytest.mark.parametrize(
    ("rules", "profile"),
    [
        ((), ENABLED),
        ((PortRule("egress", "IPv4", None),), ENABLED),
        ((let_in("tcp", 22, 22),), PROTECTED),
        ((let_in("6", 22, 22), let_in("icmp", 8, 0)), PROTECTED),
        ((let_in("udp", 6001, 6009), PortRule("egress", "IPv6", None)), PROTECTED),
        ((let_in("tcp", 22, 23),), DISABLED),
        ((let_in("tcp"),), DISABLED),
        ((let_in("udp", 22, 22),), DISABLED),
        ((let_in(None),), DISABLED),
        ((let_in("tcp", 22, 22), let_in("tcp", 80, 80)), DISABLED),
        ((PortRule("ingress", "IPv6", "icmp"),), DISABLED),
        ((PortRule("ingress", "IPv4", "tcp", 22, 22, by_group=True),), DISABLED),
    ],
    ids=range(12),
)
def test_profile_is_the_strictest_that_lets_all_in(
    rules: tuple[PortRule, ...], profile: str
) -> None:
    """What a rule lets in is never stopped; a group's members may send anything."""
    assert firewall.profile_of(rules, SITE) == profile


def test_limited_is_never_chosen_where_the_site_says_nothing() -> None:
    """It might stop what a rule lets in."""
    assert firewall.profile_of((let_in("tcp", 22, 22),), ()) == DISABLED
    assert firewall.profile_of((), ()) == ENABLED


PROFILES = st.dictionaries(
    st.sampled_from([f"snf-nic-{number}" for number in range(1, 6)]),
    st.sampled_from([ENABLED, PROTECTED, DISABLED]),
)


@given(PROFILES, PROFILES)
def test_tags_become_what_is_wanted(before: dict[str, str], after: dict[str, str]) -> None:
    """What is missing comes, what is left over goes; all else stays as it is."""
    there = {*firewall.tags(before), "cyclades:server:x", "synnefo:network:eth0:protected"}
    now = there.union(firewall.missing(there, after)).difference(firewall.leftover(there, after))
    for nic, profile in after.items():
        assert (firewall_of(now, nic) or DISABLED) == profile
    for nic in before.keys() - after.keys():
        assert firewall_of(now, nic) == firewall_of(there, nic)
    assert {"cyclades:server:x", "synnefo:network:eth0:protected"} <= now
    assert not firewall.missing(now, after)
    assert not firewall.leftover(now, after)


def test_difference_is_between_what_is_seen_and_what_the_rules_ask_for() -> None:
    """No tag and the profile DISABLED are the same."""
    opened = (let_in("tcp"),)
    assert not firewall.differs((PortRules(1, None, opened), PortRules(2, ENABLED, ())), SITE)
    assert firewall.differs((PortRules(1, None, opened), PortRules(2, None, ())), SITE)
    assert firewall.differs((PortRules(1, PROTECTED, opened),), SITE)
