"""The hook of old: after an operation, the network cards that Ganeti's environment names.

No consumer needs it, as ``ganeti-op-status`` has the same; it is there for those who still listen
to ``ganeti-net-status``. Linked into ``instance-{add,modify,reboot,start}-post.d``, it leaves at
once, so that no operation waits for a broker, and it never fails one.
"""

from __future__ import annotations

import ipaddress
import os
import signal
import sys
import time
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from cyclades_tx.gtools.config import DEFAULT_PATH, Config
from cyclades_tx.gtools.messages import firewalls, prefix
from cyclades_tx.steady import steady

#: How long the message may take, and how long the process lives at most.
SEND_SECONDS = 5.0
LIFE_SECONDS = 15
MOST_NICS = 64

_PATHS = ("instance-add", "instance-modify", "instance-reboot", "instance-start")


class BadEnvironment(Exception):
    """Ganeti's variables do not describe an instance."""


def message(environment: Mapping[str, str], now: float) -> dict[str, Any] | None:
    """Return what is to be said; None: nothing.

    :param environment: as Ganeti gives it to a hook.
    :param now: seconds since the epoch.
    :raise BadEnvironment: something is missing.
    """
    phase, path = environment.get("GANETI_HOOKS_PHASE"), environment.get("GANETI_HOOKS_PATH")
    if phase != "post" or path not in _PATHS:
        return None
    # The state after the operation, where there is one.
    later = "GANETI_POST_INSTANCE_" if "GANETI_POST_INSTANCE_NIC_COUNT" in environment else ""
    start = later or "GANETI_INSTANCE_"
    name = environment.get("GANETI_INSTANCE_NAME", "")
    count = environment.get(f"{start}NIC_COUNT", "")
    if not name or not count.isdecimal() or int(count) > MOST_NICS:
        raise BadEnvironment("no GANETI_INSTANCE_NAME, or no usable GANETI_INSTANCE_NIC_COUNT")
    tags = environment.get(f"{start}TAGS", environment.get("GANETI_INSTANCE_TAGS", ""))
    walls = firewalls(tags.split())
    seconds, fraction = divmod(now, 1)
    return {
        "type": "ganeti-net-status",
        "instance": name,
        "event_time": [int(seconds), int(fraction * 1_000_000)],
        "nics": [_nic(environment, f"{start}NIC{index}_", walls) for index in range(int(count))],
    }


def _nic(environment: Mapping[str, str], start: str, walls: Mapping[str, str]) -> dict[str, Any]:
    def value(*names: str) -> str | None:
        return next(
            (environment[start + each] for each in names if environment.get(start + each)), None
        )

    mac = value("MAC")
    if mac is None:
        raise BadEnvironment(f"no {start}MAC")
    return {
        "mac": mac,
        "ip": value("IP"),
        "link": value("BRIDGE", "LINK"),
        "network": value("NETWORK_NAME", "NETWORK"),
        "ipv6": _ipv6(mac, value("NETWORK_SUBNET6")),
        "firewall": walls.get(value("NAME") or ""),
    }


def _ipv6(mac: str, subnet: str | None) -> str | None:
    """Return the address that a card gives itself in a subnet; None when there is none."""
    try:
        network = ipaddress.IPv6Network(subnet or "", strict=False)
        parts = bytes.fromhex(mac.replace(":", ""))
        host = bytes((parts[0] ^ 2, parts[1], parts[2], 0xFF, 0xFE, parts[3], parts[4], parts[5]))
    except (ValueError, IndexError):
        return None
    return str(network[0] + int.from_bytes(host, "big"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a hook; the exit code is always 0."""
    parser = ArgumentParser(prog="ganeti-net-hook", description="Tell an instance's cards.")
    parser.add_argument("--config", default=DEFAULT_PATH, help="default: %(default)s")
    parser.add_argument("--foreground", action="store_true", help="wait until it is sent")
    options = parser.parse_args(arguments)
    try:
        said = message(os.environ, time.time())
        if said is not None:
            if options.foreground:
                _send(said, options.config)
            elif os.fork() == 0:
                _apart(said, options.config)
    except Exception as error:
        # Never the operation's failure.
        with suppress(OSError):
            sys.stderr.write(f"ganeti-net-hook: {type(error).__name__}: {error}\n")
    return 0


def _apart(said: dict[str, Any], path: str) -> None:
    """Send from a process that Ganeti does not wait for, and end it."""
    try:
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nowhere, descriptor)
        signal.alarm(LIFE_SECONDS)
        _send(said, path)
    finally:
        os._exit(0)


def _send(said: dict[str, Any], path: str) -> None:
    """Publish one message, or give up.

    :raise ConfigError: there is no usable configuration.
    """
    from twisted.internet import reactor as installed
    from twisted.internet.defer import Deferred

    from cyclades_tx.gtools.broker import make_broker
    from cyclades_tx.gtools.courier import Courier

    config = Config.load(path)
    if os.environ.get("GANETI_MASTER", "").lower() != config.ganeti.own_name().lower():
        return  # the other nodes of the instance run the same hook
    reactor: Any = installed
    steady(reactor)
    courier = Courier(reactor, make_broker(reactor, config.broker), config.broker.exchange)
    courier.offer(f"ganeti.{prefix(said['instance'])}.event.net", said)

    async def end() -> None:
        try:
            await courier.end(SEND_SECONDS)
        finally:
            reactor.stop()

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(end()))
    reactor.run()
