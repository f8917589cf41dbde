"""Runs one coroutine over the reactor, and says in an operator's words how it ended."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import click
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)

from cyclades_tx.config import Config
from cyclades_tx.errors import CycladesError, Unavailable
from cyclades_tx.log import redact_text
from cyclades_tx.store.migrations import check_schema
from cyclades_tx.world import World

T = TypeVar("T")

FAILED = 1
INTERRUPTED = 130


class Failed(CycladesError):
    """The command did its work and something of it did not succeed; all is said already."""

    code = "failed"


@dataclass
class Settings:
    """What was said before the command's name.

    :ivar config_path: the configuration file.
    :ivar verbose: whether the log and tracebacks are wanted, on standard error.
    """

    config_path: str
    verbose: bool = False

    def config(self) -> Config:
        """Read the configuration.

        :raise ConfigError: names file, key and what is allowed.
        """
        return Config.load(self.config_path)

    def run(self, work: Callable[[World], Awaitable[T]]) -> T:
        """Run a command's work in the real world of the configuration; may be called once.

        :raise CycladesError: what the person should be told.
        :raise KeyboardInterrupt: when Ctrl-C ended it; what was begun in the database is
            either done or undone.
        """
        return run(self.config(), work, verbose=self.verbose)


def run(config: Config, work: Callable[[World], Awaitable[T]], *, verbose: bool = False) -> T:
    """See :meth:`Settings.run`."""
    from twisted.internet import reactor as installed

    reactor: Any = installed
    _begin_log(verbose)
    results: list[T] = []
    failures: list[BaseException] = []

    async def whole() -> None:
        results.append(await in_world(reactor, config, work))

    over = False

    def end(result: Any) -> None:
        nonlocal over
        over = True
        if result is not None:
            failures.append(result.value)
        if not stopping:
            reactor.stop()

    stopping: list[bool] = []
    running: list[Deferred[None]] = []

    def begin() -> None:
        running.append(Deferred.fromCoroutine(whole()))
        running[0].addBoth(end)

    def stop() -> Deferred[None] | None:
        """Ctrl-C: end the work, and wait for the connections to close."""
        stopping.append(True)
        if over or not running:
            return None
        failures.append(KeyboardInterrupt())
        running[0].cancel()
        return running[0]

    reactor.callWhenRunning(begin)
    reactor.addSystemEventTrigger("before", "shutdown", stop)
    reactor.run()
    if failures:
        raise failures[0]
    return results[0]


async def in_world(reactor: Any, config: Config, work: Callable[[World], Awaitable[T]]) -> T:
    """Do a command's work in the real world of a configuration, and close that again."""
    world = World.real(reactor, config, tool=True)
    try:
        world.database.start()
        try:
            await check_schema(world.database)
        except Unavailable:
            if not world.database.trouble:
                raise
            reason = redact_text(" ".join(world.database.trouble.split()))
            raise Unavailable(f"The database cannot be reached: {reason}") from None
        return await work(world)
    finally:
        await world.close()


def explain(error: BaseException, *, verbose: bool = False) -> NoReturn:
    """Say what went wrong on standard error, and end with the exit code that fits."""
    if isinstance(error, Failed):
        if error.message:
            _say(error.message)
        sys.exit(FAILED)
    if isinstance(error, CycladesError):
        _say(error.whole)
        sys.exit(FAILED)
    if isinstance(error, KeyboardInterrupt | CancelledError | click.Abort):
        click.echo("Interrupted.", err=True)
        sys.exit(INTERRUPTED)
    if isinstance(error, BrokenPipeError):
        # Whoever read our output has enough of it; Python must not complain at its end.
        sys.stdout = None
        sys.exit(FAILED)
    text = redact_text(" ".join(str(error).split())[:500])
    _say(f"unexpected: {type(error).__name__}: {text}")
    if verbose:
        click.echo(redact_text("".join(traceback.format_exception(error))), err=True)
    else:
        click.echo("snf-manage -v shows where.", err=True)
    sys.exit(FAILED)


def _say(message: str) -> None:
    click.echo(f"snf-manage: {message}", err=True)


def _begin_log(verbose: bool) -> None:
    """Write the log to standard error when it is wanted, and nowhere otherwise."""
    written: ILogObserver = textFileLogObserver(sys.stderr)
    if not verbose:
        critical = LogLevelFilterPredicate(defaultLogLevel=LogLevel.critical)
        written = FilteringLogObserver(written, [critical])
    globalLogBeginner.beginLoggingTo([written], redirectStandardIO=False)
