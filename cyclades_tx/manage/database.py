"""Commands about the database and what is in motion."""

from __future__ import annotations

import click
import psycopg2

from cyclades_tx.errors import Unavailable
from cyclades_tx.manage.options import WORD, list_command
from cyclades_tx.manage.runner import Settings
from cyclades_tx.store.migrations import migrate
from cyclades_tx.store.operator_lists import OPERATIONS


def _migrate(settings: Settings) -> None:
    dsn = settings.config().database.connection_string()
    try:
        applied = migrate(dsn)
    except psycopg2.OperationalError as error:
        reason = " ".join(str(error).split())
        raise Unavailable(f"The database cannot be reached: {reason}") from None
    for name in applied:
        click.echo(f"Applied {name}.")
    if not applied:
        click.echo("The database has the schema of this release already.")


@click.command("database-migrate")
@click.pass_obj
def database_migrate(settings: Settings) -> None:
    """Bring the database's schema up to this release; harmless when it is already."""
    _migrate(settings)


@click.command("db-migrate", hidden=True)
@click.pass_obj
def db_migrate(settings: Settings) -> None:
    """Do what database-migrate does."""
    _migrate(settings)


def add_to(group: click.Group) -> None:
    """Add the commands."""
    group.add_command(database_migrate)
    group.add_command(db_migrate)
    server = click.Option(["--server"], type=WORD, help="Only those on this server, by id or UUID.")
    backend = click.Option(["--backend"], type=WORD, help="Only those on this cluster.")
    list_command(
        group,
        "operation-list",
        OPERATIONS,
        "List what is in motion, and why it waits.",
        ((server, "server", None), (backend, "backend", None)),
    )
