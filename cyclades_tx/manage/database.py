"""Commands about the database and what is in motion."""

from __future__ import annotations

import click
import psycopg2

from cyclades_tx.errors import Conflict, Unavailable
from cyclades_tx.manage.options import WORD, list_command
from cyclades_tx.manage.runner import Settings
from cyclades_tx.store import sealed
from cyclades_tx.store.migrations import migrate
from cyclades_tx.store.operator_lists import OPERATIONS
from cyclades_tx.store.restored import Restored, settle
from cyclades_tx.world import World


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


@click.command("database-restored")
@click.pass_obj
def database_restored(settings: Settings) -> None:
    """Make a database that was restored from a backup ready, before a service is started on it.

    New things get numbers that were not given since the backup either, so that none is taken for
    one that the clusters still have. All tokens end: some may have been revoked since.
    """

    async def work(world: World) -> Restored:
        if await sealed.service_sessions(world.database):
            raise Conflict("A service runs on this database: stop every one first.", "in_use")
        return await world.database.transaction(settle, "database.restored")

    done = settings.run(work)
    click.echo(
        f"The numbers of {done.tables} kinds of things go on higher up, and {done.tokens} tokens"
        " have ended.\nStart the service, then see what has changed meanwhile:\n"
        "  snf-manage reconcile-servers\n  snf-manage reconcile-networks"
    )


def add_to(group: click.Group) -> None:
    """Add the commands."""
    group.add_command(database_migrate)
    group.add_command(database_restored)
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
