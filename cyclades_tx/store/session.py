"""One connection that stays: for what PostgreSQL ties to a session, such as advisory locks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zope.interface import implementer

from cyclades_tx.store.connection import Connection, rows_of
from cyclades_tx.store.interfaces import Arguments, IQuerier
from cyclades_tx.store.pool import Limits, connect, full_dsn


@implementer(IQuerier)
class Session:
    """A connection of one's own.

    :param reactor: provides IReactorFDSet and IReactorTime.
    :param lost: called once when the session is over without having been closed.
    """

    def __init__(
        self,
        reactor: Any,
        dsn: str,
        lost: Callable[[], None],
        application_name: str = "cyclades_tx lease",
        limits: Limits | None = None,
    ) -> None:
        self._reactor = reactor
        self._dsn = full_dsn(dsn, application_name, limits)
        self._connection = Connection(reactor, lambda _: lost())

    @property
    def open(self) -> bool:
        """Whether the session stands."""
        return self._connection.open

    async def connect(self) -> None:
        """Open it.

        :raise Exception: what psycopg2 says when PostgreSQL is not there.
        """
        await connect(self._reactor, self._dsn, self._connection)

    def close(self) -> None:
        """End the session; its locks are free at once."""
        if self._connection.open:
            self._connection.close()

    async def all(self, sql: str, args: Arguments = ()) -> list[Any]:
        """Run a statement and return its rows as named tuples."""
        return rows_of(await self._connection.execute(sql, args or None))

    async def first(self, sql: str, args: Arguments = ()) -> Any:
        """Run a statement and return its first row, or None."""
        rows = await self.all(sql, args)
        return rows[0] if rows else None

    async def value(self, sql: str, args: Arguments = ()) -> Any:
        """Run a statement and return the first column of its first row, or None."""
        row = await self.first(sql, args)
        return None if row is None else row[0]

    async def run(self, sql: str, args: Arguments = ()) -> int:
        """Run a statement and return how many rows it touched."""
        cursor = await self._connection.execute(sql, args or None)
        return max(0, int(cursor.rowcount))
