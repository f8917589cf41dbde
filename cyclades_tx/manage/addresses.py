"""Commands about ports, floating IPs and public addresses."""

from __future__ import annotations

import click

from cyclades_tx.manage.options import WORD, list_command
from cyclades_tx.store.operator_address_lists import FLOATING_IPS, IPS, PORTS


def _option(words: tuple[str, ...], what: str) -> click.Option:
    return click.Option(list(words), type=WORD, help=f"Only those of this {what}.")


def add_to(group: click.Group) -> None:
    """Add the commands."""
    user = (_option(("-u", "--user", "--owner"), "user"), "user", None)
    project = (_option(("-p", "--project"), "project"), "project", None)
    server = (_option(("--server",), "server"), "server", None)
    network = (_option(("--network",), "network"), "network", None)
    address = (_option(("--address",), "address"), "address", None)
    list_command(group, "port-list", PORTS, "List the ports.", (user, project, server, network))
    list_command(
        group,
        "floating-ip-list",
        FLOATING_IPS,
        "List the floating IPs, and the server that each is on.",
        (user, project, server, network, address),
    )
    list_command(
        group,
        "ip-list",
        IPS,
        "List who had which public address, from when to when, on which server.",
        (user, project, server, network, address),
    )
