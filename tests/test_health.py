"""What the admin port says of a database that is in trouble."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import make_dsn
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher

from cyclades_tx.api.admin import CHECK_TIMEOUT_SECONDS
from cyclades_tx.api.admin import Health as Checks
from cyclades_tx.errors import Unavailable
from cyclades_tx.health import Health
from cyclades_tx.store.database import Database
from cyclades_tx.testing.expected import raised


def checks_of(database: Any) -> Any:
    """What is looked at, by name."""
    return Health(database, SimpleNamespace(), lambda: 0).checks()  # type: ignore[arg-type]


async def test_a_database_that_cannot_be_reached_is_told_in_its_own_words() -> None:
    """By every check, at once and in one line: none of them waits for a connection."""
    database = SimpleNamespace(trouble="FATAL:  sorry, too many\n\tclients already")
    for check in checks_of(database).values():
        refused = await raised(Unavailable, check())
        assert refused.message.endswith("reached: FATAL: sorry, too many clients already")


async def test_a_database_that_was_short_of_something_is_told() -> None:
    """Reading goes on meanwhile, and would look well."""
    database = SimpleNamespace(trouble="", shortage="could not extend file: No space left")
    refused = await raised(Unavailable, checks_of(database)["database"]())
    assert "No space left" in refused.message


@pytest.mark.parametrize("mode", ["off", "on"])
async def test_a_database_that_takes_no_changes_is_told(dsn: str, mode: str) -> None:
    """A standby, or what an operator has set."""
    options = f"-c default_transaction_read_only={mode}"
    database = Database(reactor, make_dsn(dsn, options=options))
    database.start()
    try:
        check = checks_of(database)["database"]
        if mode == "off":
            await check()
        else:
            assert "read-only" in (await raised(Unavailable, check())).message
    finally:
        await database.close()


async def test_a_check_that_does_not_answer_is_told_once_in_the_log() -> None:
    """However often somebody asks."""
    told: list[str] = []

    def keep(event: dict[str, Any]) -> None:
        if event.get("log_format") == "health.failed" and event["log_level"] is LogLevel.warn:
            told.append(event["check"])

    async def silent() -> None:
        await Deferred()

    clock = Clock()
    checks = Checks(clock, {"database": silent, "schema": silent})
    globalLogPublisher.addObserver(keep)
    try:
        for _ in range(5):
            looking = Deferred.fromCoroutine(checks.deep())
            clock.advance(CHECK_TIMEOUT_SECONDS + 1)
            assert (await looking)["status"] == "failing"
    finally:
        globalLogPublisher.removeObserver(keep)
    assert told == ["database"]


async def test_a_shortage_is_remembered_until_nobody_has_met_it_for_a_while(dsn: str) -> None:
    """Whose work fails tries again within a minute; the log has one line."""
    told: list[str] = []

    def keep(event: dict[str, Any]) -> None:
        if str(event.get("log_format")).startswith("PostgreSQL is short"):
            told.append(event["why"])

    clock = Clock()
    database = Database(reactor, dsn)
    database.start()
    globalLogPublisher.addObserver(keep)
    try:
        full = "do $$ begin raise exception 'no room' using errcode = '53100'; end $$"
        assert database.shortage == ""
        for _ in range(3):
            await raised(Unavailable, database.run(full))
        assert database.shortage == "no room"
        await raised(psycopg2.Error, database.run("select 1 / 0"))
        database._reactor = clock
        clock.advance(database._shortage_at + 89)
        assert database.shortage == "no room"
        clock.advance(2)
        assert database.shortage == ""
    finally:
        globalLogPublisher.removeObserver(keep)
        database._reactor = reactor
        await database.close()
    assert told == ["no room"]
