"""Commands about the keys that seal credentials in the database."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import click

from cyclades_tx.errors import BadRequest, ConfigError, Conflict
from cyclades_tx.flows.resealing import Resealed, older, reseal
from cyclades_tx.ganeti.credentials import Keyring, generate_key
from cyclades_tx.manage import tables
from cyclades_tx.manage.options import output_format
from cyclades_tx.manage.runner import Failed, Settings
from cyclades_tx.store import sealed
from cyclades_tx.world import World


@click.command("keyring-create")
@click.argument("file", type=click.Path(), required=False)
@click.pass_obj
def create(settings: Settings, file: str | None) -> None:
    """Make the file with the first key, mode 0600; one that is there is never touched.

    FILE: where; default: what ganeti.keyring_file in the configuration says.
    """
    path = file or _configured(settings.config_path)
    try:
        Keyring.create(path)
    except FileExistsError:
        raise Conflict(f"{path} is there already: it was not touched.", "exists") from None
    except OSError as error:
        raise BadRequest(f"{path} cannot be made: {error.strerror}.") from None
    click.echo(
        f"{path} was made, for its owner only. Keep a copy apart from the database's backup."
    )


@click.command("keyring-rotate")
@click.option(
    "--reseal",
    "only_reseal",
    is_flag=True,
    help="Add no key: only seal what is under older ones anew.",
)
@click.option(
    "--drop-old", is_flag=True, help="Remove the older keys, if nothing is under them any more."
)
@output_format
@click.pass_obj
def rotate(settings: Settings, only_reseal: bool, drop_old: bool, form: str) -> None:
    """Put a new key first, and seal every secret in the database anew.

    A running service knows only the keys that it read at its start. So while one runs, only the
    key is added; restart the services, then finish with --reseal.
    """
    if only_reseal and drop_old:
        raise click.UsageError("--reseal and --drop-old are two steps.")
    path = settings.config().ganeti.keyring_file
    if not path:
        raise ConfigError(f"{settings.config_path}: ganeti.keyring_file names no file.")
    if drop_old:
        settings.run(lambda world: _refuse_needed(world, path))
        click.echo(f"{path} holds only the newest key now.")
        return

    async def work(world: World) -> list[Resealed] | None:
        # First, so that no key is added when the database cannot be had.
        sessions = await sealed.service_sessions(world.database)
        if not only_reseal:
            _rewrite(path, lambda keys: [generate_key(), *keys])
            click.echo(f"A new key is the first in {path}.", err=True)
            if sessions:
                return None
        return await reseal(world.database, Keyring.load(path))

    outcomes = settings.run(work)
    if outcomes is None:
        click.echo(
            "A service is running with the older keys: restart every service, then run\n"
            "  snf-manage keyring-rotate --reseal"
        )
        return
    found = [(each.kind, each.done, each.current, len(each.broken)) for each in outcomes]
    tables.show(tables.table(("secret", "resealed", "current", "broken"), found, form))
    broken = [reason for each in outcomes for reason in each.broken]
    if broken:
        raise Failed("\nsnf-manage: ".join(broken))


def add_to(group: click.Group) -> None:
    """Add the commands."""
    group.add_command(create)
    group.add_command(rotate)


async def _refuse_needed(world: World, path: str) -> None:
    number = await older(world.database, world.keyring)
    if number:
        raise Conflict(
            f"{number} secret{'s are' if number != 1 else ' is'} under an older key still: run"
            " snf-manage keyring-rotate --reseal first.",
            "in_use",
        )
    _rewrite(path, lambda keys: keys[:1])


def _configured(config_path: str) -> str:
    """The key file of a configuration that is not complete without it yet."""
    try:
        with open(config_path, "rb") as file:
            raw = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{config_path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{config_path}: not valid TOML: {error}") from None
    section = raw.get("ganeti")
    name = section.get("keyring_file") if isinstance(section, dict) else None
    if not isinstance(name, str) or not name:
        raise ConfigError(
            f"{config_path}: ganeti.keyring_file: names no file; set it, or say which file to make"
        )
    return str(Path(config_path).absolute().parent / name)


def _rewrite(path: str, change: object) -> None:
    """Put changed keys in the place of a key file, all or nothing, for the same owner.

    :raise Conflict: when somebody else does the same now, or was interrupted.
    """
    assert callable(change)
    real = os.path.realpath(path)
    new = f"{real}.new"
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise Conflict(
            f"{new} is there: another rotation is under way. If none is, remove that file."
        ) from None
    except OSError as error:
        raise BadRequest(f"{new} cannot be made: {error.strerror}.") from None
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            before = os.stat(real)
            if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
            keys = Path(real).read_text(encoding="ascii").split()
            file.write("".join(f"{key}\n" for key in change(keys)))
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, real)
    except BaseException:
        Path(new).unlink(missing_ok=True)
        raise
    folder = os.open(os.path.dirname(real), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
