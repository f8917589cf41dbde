"""The schema runner: what is applied, what is refused, and two that run at once."""

from __future__ import annotations

import threading
from typing import Any

import psycopg2
import pytest

from cyclades_tx.errors import SchemaError
from cyclades_tx.store.database import Database
from cyclades_tx.store.migrations import (
    Migration,
    check,
    check_schema,
    migrate,
    migrations,
    ordered,
)

ONE = Migration(1, "001_one.sql", "create table one (n int); insert into one values (1)")
TWO = Migration(2, "002_two.sql", "alter table one add column s text default '100%'")


def query(dsn: str, sql: str) -> list[Any]:
    """Return the rows of a statement."""
    connection = psycopg2.connect(dsn)
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())
    finally:
        connection.close()


def test_the_files_of_this_release_apply_to_an_empty_database(empty_dsn: str) -> None:
    """All of them once, and then the database is the release's."""
    names = [migration.name for migration in migrations()]
    assert migrate(empty_dsn) == names
    assert migrate(empty_dsn) == []
    check(empty_dsn)
    assert [row[0] for row in query(empty_dsn, "select name from schema_migration")] == names


def test_what_is_missing_is_applied_in_order(empty_dsn: str) -> None:
    """A later release brings only its own files."""
    assert migrate(empty_dsn, [ONE]) == ["001_one.sql"]
    assert migrate(empty_dsn, [ONE, TWO]) == ["002_two.sql"]
    assert query(empty_dsn, "select n, s from one") == [(1, "100%")]


def test_a_file_that_fails_leaves_nothing_and_is_named(empty_dsn: str) -> None:
    """What came before it stays, its own beginning does not."""
    bad = Migration(2, "002_bad.sql", "create table half (n int); select nonsense")
    with pytest.raises(SchemaError, match=r"002_bad\.sql cannot be applied"):
        migrate(empty_dsn, [ONE, bad])
    assert query(empty_dsn, "select to_regclass('half')") == [(None,)]
    assert query(empty_dsn, "select number from schema_migration") == [(1,)]
    assert migrate(empty_dsn, [ONE, TWO]) == ["002_two.sql"]


def test_a_changed_file_is_refused(empty_dsn: str) -> None:
    """By migrating and by looking."""
    migrate(empty_dsn, [ONE])
    changed = Migration(1, "001_one.sql", ONE.sql + " ")
    for action in (migrate, check):
        with pytest.raises(SchemaError, match="was changed"):
            action(empty_dsn, [changed])


def test_a_newer_database_is_refused(empty_dsn: str) -> None:
    """By migrating and by looking."""
    migrate(empty_dsn, [ONE, TWO])
    for action in (migrate, check):
        with pytest.raises(SchemaError, match="newer"):
            action(empty_dsn, [ONE])


def test_an_older_database_is_refused_and_not_touched(empty_dsn: str) -> None:
    """Looking says which files are missing, even when nothing was ever applied."""
    with pytest.raises(SchemaError, match=r"001_one\.sql, 002_two\.sql"):
        check(empty_dsn, [ONE, TWO])
    with pytest.raises(SchemaError, match=r"001_identity\.sql to \d{3}_\w+\.sql \(\d+ files\)"):
        check(empty_dsn)
    assert query(empty_dsn, "select to_regclass('schema_migration')") == [(None,)]


async def test_the_service_looks_through_its_own_pool(database: Database) -> None:
    """The same rules, without blocking."""
    await check_schema(database)
    release = migrations()
    later = Migration(len(release) + 1, "999_later.sql", "select 1")
    with pytest.raises(SchemaError, match="older"):
        await check_schema(database, [*release, later])
    with pytest.raises(SchemaError, match="newer"):
        await check_schema(database, release[:-1])


async def test_the_service_refuses_a_database_without_a_schema(
    open_database: Any,
) -> None:
    """An empty database is an older one."""
    database = open_database()
    await database.run("drop table schema_migration")
    with pytest.raises(SchemaError, match="older"):
        await check_schema(database)


def test_two_at_once_apply_each_file_once(empty_dsn: str) -> None:
    """One waits for the other and finds nothing left to do."""
    slow = Migration(1, "001_slow.sql", "select pg_sleep(0.2); create table slow (n int)")
    results: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: results.append(migrate(empty_dsn, [slow])))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(results) == [[], ["001_slow.sql"]]


@pytest.mark.parametrize(
    "names",
    [
        ["1_one.sql"],
        ["001-one.sql"],
        ["000_zero.sql"],
        ["002_two.sql"],
        ["001_one.sql", "001_other.sql"],
        ["001_one.sql", "003_three.sql"],
    ],
)
def test_misnamed_files_are_refused(names: list[str]) -> None:
    """Wrong names, gaps and doubles are errors of the release."""
    with pytest.raises(SchemaError):
        ordered((name, "") for name in names)
