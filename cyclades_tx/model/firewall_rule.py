"""Rules of security groups: which words make sense together."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network

from cyclades_tx.errors import BadRequest

#: Protocols by name; any other is a number from 0 to 255.
PROTOCOLS = (
    "ah", "dccp", "egp", "esp", "gre", "hopopt", "icmp", "icmpv6", "igmp", "ip", "ipip",
    "ipv6-encap", "ipv6-frag", "ipv6-icmp", "ipv6-nonxt", "ipv6-opts", "ipv6-route", "ospf",
    "pgm", "rsvp", "sctp", "tcp", "udp", "udplite", "vrrp",
)  # fmt: skip
_ICMP = frozenset({"icmp", "icmpv6", "ipv6-icmp", "1", "58"})
_WITH_PORTS = frozenset({"tcp", "udp", "udplite", "sctp", "dccp", "6", "17", "33", "132", "136"})
_SIX_ONLY = frozenset(
    {"icmpv6", "ipv6-encap", "ipv6-frag", "ipv6-icmp", "ipv6-nonxt", "ipv6-opts", "ipv6-route"}
)
_MOST_NUMBER = 255
_MOST_PORT = 65535
_MOST_CODE = 255


@dataclass(frozen=True)
class RuleWords:
    """A rule as somebody wrote it."""

    direction: str
    ethertype: str | None = None
    protocol: str | int | None = None
    port_range_min: int | None = None
    port_range_max: int | None = None
    remote_prefix: str | None = None


@dataclass(frozen=True)
class Checked:
    """A rule that makes sense, in one way of writing."""

    direction: str
    ethertype: str
    protocol: str | None
    port_range_min: int | None
    port_range_max: int | None
    remote_prefix: str | None


def check(words: RuleWords) -> Checked:
    """Bring a rule into one way of writing.

    :raise BadRequest: when it means nothing; names the word.
    """
    if words.direction not in ("ingress", "egress"):
        raise _invalid("direction", words.direction, "ingress or egress")
    ethertype = {"ipv4": "IPv4", "ipv6": "IPv6"}.get((words.ethertype or "IPv4").lower())
    if ethertype is None:
        raise _invalid("ethertype", words.ethertype, "IPv4 or IPv6")
    protocol = _protocol(words.protocol)
    if protocol in _SIX_ONLY and ethertype == "IPv4":
        raise BadRequest(
            f"Invalid ethertype {ethertype} for protocol {protocol}.",
            neutron_type="SecurityGroupEthertypeConflictWithProtocol",
        )
    low, high = words.port_range_min, words.port_range_max
    if protocol in _ICMP:
        _check_codes(low, high)
    elif low is not None or high is not None:
        low, high = _ports(protocol, low, high)
    prefix = None
    if words.remote_prefix is not None:
        prefix = _prefix(words.remote_prefix, ethertype)
    return Checked(words.direction, ethertype, protocol, low, high, prefix)


def _invalid(what: str, value: object, allowed: str) -> BadRequest:
    return BadRequest(
        f"Invalid input for {what}. Reason: {str(value)[:80]!r} is not {allowed}.",
        neutron_type="HTTPBadRequest",
    )


def _protocol(value: str | int | None) -> str | None:
    if value is None or value in ("", "any"):
        return None
    text = str(value).lower()
    if text in PROTOCOLS:
        return text
    if text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= _MOST_NUMBER:
        return str(int(text))
    raise BadRequest(
        f"Security group rule protocol {text[:80]!r} not supported: use a name or a number from 0 "
        f"to {_MOST_NUMBER}.",
        neutron_type="SecurityGroupRuleInvalidProtocol",
    )


def _check_codes(kind: int | None, code: int | None) -> None:
    """The two "ports" of ICMP are its type and its code."""
    if code is not None and kind is None:
        raise BadRequest(
            "ICMP code (port-range-max) is provided but ICMP type (port-range-min) is missing.",
            neutron_type="SecurityGroupMissingIcmpType",
        )
    for what, value in (("type", kind), ("code", code)):
        if value is not None and not 0 <= value <= _MOST_CODE:
            raise BadRequest(
                f"Invalid value for ICMP {what}: {value}. It must be 0 to {_MOST_CODE}.",
                neutron_type="SecurityGroupInvalidIcmpValue",
            )


def _ports(protocol: str | None, low: int | None, high: int | None) -> tuple[int, int]:
    if protocol not in _WITH_PORTS:
        raise BadRequest(
            "Must also specify protocol if port range is given: one that has ports.",
            neutron_type="SecurityGroupProtocolRequiredWithPorts",
        )
    if low is None or high is None or not 0 <= low <= _MOST_PORT or not 0 <= high <= _MOST_PORT:
        raise BadRequest(
            f"Invalid range of ports: both ends are needed, from 0 to {_MOST_PORT}.",
            neutron_type="SecurityGroupInvalidPortValue",
        )
    if low > high:
        raise BadRequest(
            "For TCP/UDP protocols, port_range_min must be <= port_range_max",
            neutron_type="SecurityGroupInvalidPortRange",
        )
    return low, high


def _prefix(text: str, ethertype: str) -> str:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise _invalid("remote_ip_prefix", text, "an address or a subnet") from None
    if f"IPv{network.version}" != ethertype or "%" in text:
        raise BadRequest(
            f"Conflicting value ethertype {ethertype} for CIDR {text[:80]}.",
            neutron_type="SecurityGroupRuleParameterConflict",
        )
    return str(network)
