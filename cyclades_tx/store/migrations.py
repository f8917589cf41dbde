"""The schema, as numbered plain SQL files that are applied once and never changed after.

``schema/NNN_name.sql`` run in the order of their numbers, each in a transaction of its own,
under an advisory lock. The table ``schema_migration`` keeps the checksum of each; a file that
changed after it was applied is refused. A service starts only on exactly its own schema.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import psycopg2

from cyclades_tx.errors import SchemaError

# Any number will do as long as nothing else in this database locks the same one.
LOCK = 0x6379636C61646573  # "cyclades" in ASCII
#: More missing files are told by the first and the last.
MOST_NAMED = 4
FILE_NAME = re.compile(r"^(\d{3})_([a-z0-9_]+)\.sql$")
TABLE = """
create table if not exists schema_migration (
    number integer primary key,
    name text not null,
    checksum text not null,
    applied_at timestamptz not null default now()
)
"""
APPLIED = "select number, name, checksum from schema_migration order by number"
EXISTS = "select to_regclass('schema_migration') is not null"


@dataclass(frozen=True)
class Migration:
    """One file of the schema.

    :param number: its place in the order, from 1.
    :param name: its file's name.
    :param sql: its text.
    """

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, in hex."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> list[Migration]:
    """Return the files of this release in their order.

    :raise SchemaError: when numbers are missing or doubled, or a file is named otherwise.
    """
    return ordered(
        (entry.name, entry.read_text(encoding="utf-8"))
        for entry in resources.files("cyclades_tx.store").joinpath("schema").iterdir()
        if entry.name.endswith(".sql")
    )


def ordered(files: Iterable[tuple[str, str]]) -> list[Migration]:
    """Make migrations of file names and texts.

    :raise SchemaError: when numbers are missing or doubled, or a file is named otherwise.
    """
    found = []
    for name, sql in sorted(files):
        match = FILE_NAME.match(name)
        if match is None:
            raise SchemaError(f"The schema file {name} must be named like 001_name.sql.")
        found.append(Migration(int(match[1]), name, sql))
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        names = ", ".join(migration.name for migration in found)
        raise SchemaError(f"The schema files are not numbered 001, 002 … without a gap: {names}.")
    return found


def migrate(dsn: str, files: Sequence[Migration] | None = None) -> list[str]:
    """Apply what is missing; return the names of the files that were applied.

    It waits while another process does the same, and applies nothing twice.

    :param dsn: libpq's connection string, of the owner of the schema.
    :param files: the release's own ones unless a test says otherwise.
    :raise SchemaError: when an applied file was changed, or the database is newer.
    """
    wanted = migrations() if files is None else list(files)
    connection = psycopg2.connect(dsn, application_name="cyclades_tx migrate")
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("select pg_advisory_lock(%s)", (LOCK,))
            cursor.execute("set client_min_messages = warning")
            cursor.execute(TABLE)
            cursor.execute(APPLIED)
            missing = compare(cursor.fetchall(), wanted)
            connection.autocommit = False
            for migration in missing:
                _apply(connection, cursor, migration)
        return [migration.name for migration in missing]
    finally:
        connection.close()


def check(dsn: str, files: Sequence[Migration] | None = None) -> None:
    """Make sure that the database has exactly this release's schema; changes nothing.

    :raise SchemaError: when it is older, newer, or not the same; the message tells what to do.
    """
    wanted = migrations() if files is None else list(files)
    connection = psycopg2.connect(dsn, application_name="cyclades_tx check")
    try:
        with connection.cursor() as cursor:
            cursor.execute(EXISTS)
            applied: list[Any] = []
            if cursor.fetchone()[0]:
                cursor.execute(APPLIED)
                applied = cursor.fetchall()
    finally:
        connection.close()
    refuse_older(compare(applied, wanted))


async def check_schema(database: Any, files: Sequence[Migration] | None = None) -> None:
    """Make sure, from within the service, that the database has exactly this release's schema.

    :param database: an IDatabase.
    :raise SchemaError: when it is older, newer, or not the same; the message tells what to do.
    """
    wanted = migrations() if files is None else list(files)
    applied = await database.all(APPLIED) if await database.value(EXISTS) else []
    refuse_older(compare(applied, wanted))


def compare(applied: Iterable[Sequence[Any]], wanted: Sequence[Migration]) -> list[Migration]:
    """Return the migrations that are still to be applied, in their order.

    :param applied: number, name and checksum of each that the database has.
    :raise SchemaError: when the database has others, or other texts, than this release.
    """
    by_number = {migration.number: migration for migration in wanted}
    for number, name, checksum in applied:
        migration = by_number.pop(number, None)
        if migration is None:
            raise SchemaError(
                f"The database is newer than this release: it has {name}, which is not known "
                "here. Install the release that made it."
            )
        if migration.checksum != checksum:
            raise SchemaError(
                f"{migration.name} was changed after it had been applied to this database as "
                f"{name}. Restore the file and put the change into a new one."
            )
    return list(by_number.values())


def refuse_older(missing: Sequence[Migration]) -> None:
    """Raise SchemaError when something is still to be applied."""
    if missing:
        names = ", ".join(migration.name for migration in missing)
        if len(missing) > MOST_NAMED:
            names = f"{missing[0].name} to {missing[-1].name} ({len(missing)} files)"
        raise SchemaError(
            f"The database is older than this release: {names} must be applied first "
            "(snf-manage database-migrate)."
        )


def _apply(connection: Any, cursor: Any, migration: Migration) -> None:
    try:
        cursor.execute(migration.sql)
        cursor.execute(
            "insert into schema_migration (number, name, checksum) values (%s, %s, %s)",
            (migration.number, migration.name, migration.checksum),
        )
        connection.commit()
    except psycopg2.Error as error:
        connection.rollback()
        raise SchemaError(f"{migration.name} cannot be applied: {str(error).strip()}") from error
