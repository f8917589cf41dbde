"""The door to PostgreSQL: short transactions, single reads, prepared documents, notifications.

The access files of each noun (``store/servers.py`` …) hold the SQL; they take a
:class:`ITransaction` or an :class:`IDatabase` and nothing else. Placeholders are psycopg2's
``%s`` and ``%(name)s``. Rows are named tuples of the statement's columns.

Every call is shielded: cancelling the caller's Deferred does not reach the database, and the
work runs to its end (a request whose client has gone away never leaves half a change).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from zope.interface import Interface

T = TypeVar("T")
Arguments = Sequence[Any] | dict[str, Any]


class IQuerier(Interface):
    """What can run one statement."""

    async def all(sql: str, args: Arguments = ()) -> list[Any]:
        """Run a statement and return its rows as named tuples."""

    async def first(sql: str, args: Arguments = ()) -> Any:
        """Run a statement and return its first row, or None."""

    async def value(sql: str, args: Arguments = ()) -> Any:
        """Run a statement and return the first column of its first row, or None."""

    async def run(sql: str, args: Arguments = ()) -> int:
        """Run a statement and return how many rows it touched."""


class ITransaction(IQuerier):
    """An open transaction on one connection."""

    async def notify(channel: str, payload: str) -> None:
        """Tell the listeners of a channel, when and if the transaction commits."""


class IDatabase(IQuerier):
    """A pool of connections; each bare statement is a transaction of its own."""

    async def transaction(
        work: Callable[[Any], Awaitable[T]], name: str = "", retries: int = 3, turn: str = ""
    ) -> T:
        """Run ``work(transaction)`` between begin and commit; return what it returns.

        :param name: a short fixed name for logs, metrics and crash points (``server.create``).
        :param retries: how often the whole is run again after a deadlock or a serialization
            failure, or when the connection turned out to be dead before the first statement.
        :param turn: transactions of this process with the same word go one after another, and
            hold no connection while they wait; for those that lock the same rows first.
        :raises: whatever ``work`` raises, after a rollback.
        :raises Unavailable: when no connection can be had within the pool's time limit.
        """

    async def document(sql: str, args: Sequence[Any]) -> bytes | None:
        """Run a prepared statement that builds one JSON text; return its UTF-8 bytes.

        The statement is prepared once per connection (its own text is the key), its single
        column must be ``text``. None when it returns no row or null.
        """

    def listen(channel: str, observer: Callable[[str], None]) -> Callable[[], None]:
        """Call ``observer(payload)`` for each notification; return a function that stops it."""

    def on_listen_lost(observer: Callable[[], None]) -> Callable[[], None]:
        """Call ``observer()`` each time the LISTEN connection was lost or came back.

        Whoever keeps a cache by notifications must drop it then: some may have been missed.
        """
