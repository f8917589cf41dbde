"""The command that tells who had which public address."""

from __future__ import annotations

import click

from cyclades_tx.manage.options import MOMENT, WORD, list_command
from cyclades_tx.store.operator_address_lists import IPS, held_at


def add_to(group: click.Group) -> None:
    """Add the command."""
    user = click.Option(["-u", "--user", "--owner"], type=WORD, help="Only those of this user.")
    project = click.Option(["-p", "--project"], type=WORD, help="Only those of this project.")
    server = click.Option(["--server"], type=WORD, help="Only those of this server.")
    network = click.Option(["--network"], type=WORD, help="Only those of this network.")
    address = click.Option(["--address"], type=WORD, help="Only this one.")
    moment = click.Option(
        ["--at"], type=MOMENT, help="Only who had it then, such as 2026-01-31T12:00."
    )
    list_command(
        group,
        "ip-list",
        IPS,
        "List who had which public address, from when to when, on which server.",
        (
            (user, "user", None),
            (project, "project", None),
            (server, "server", None),
            (network, "network", None),
            (address, "address", None),
            (moment, held_at, None),
        ),
    )
