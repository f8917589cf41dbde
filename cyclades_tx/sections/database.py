"""PostgreSQL, and how long it keeps what is over."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta
from psycopg2 import ProgrammingError
from psycopg2.extensions import parse_dsn

from cyclades_tx.errors import ConfigError
from cyclades_tx.sections.secret_files import read_secret
from cyclades_tx.sections.values import Count, Days, Seconds, Section, Text


class DatabaseSection(Section, frozen=True):
    """PostgreSQL.

    :ivar dsn: the connection string for libpq, without a password.
    :ivar dsn_file: a file with the connection string, for one that holds a password.
    :ivar pool_min: connections kept open at rest.
    :ivar pool_max: most connections at once.
    :ivar reads_max: documents read at once; 0: as many as this machine has processors when
        PostgreSQL runs on it too, else pool_max.
    :ivar acquire_timeout_seconds: longest wait for a free connection; then 503.
    :ivar connect_timeout_seconds: longest wait for PostgreSQL to accept a connection.
    :ivar statement_timeout_seconds: PostgreSQL ends a statement that takes longer.
    :ivar lock_timeout_seconds: PostgreSQL ends a statement that waits longer for a lock.
    :ivar idle_in_transaction_timeout_seconds: PostgreSQL ends a transaction that sleeps longer.
    """

    dsn: Text = "dbname=cyclades_tx"
    dsn_file: Text = ""
    pool_min: Count = 2
    pool_max: Annotated[int, Meta(ge=2, le=1000)] = 16
    reads_max: Annotated[int, Meta(ge=0, le=1000)] = 0
    acquire_timeout_seconds: Seconds = 10.0
    connect_timeout_seconds: Seconds = 5.0
    statement_timeout_seconds: Seconds = 30.0
    lock_timeout_seconds: Seconds = 10.0
    idle_in_transaction_timeout_seconds: Seconds = 30.0

    def connection_string(self) -> str:
        """The string for libpq; it may hold a password: keep it out of logs.

        :raise ConfigError: when ``dsn_file`` cannot be read or others can read it, or it holds no
            such string.
        """
        text = read_secret(self.dsn_file) if self.dsn_file else self.dsn
        try:
            parse_dsn(text)
        except ProgrammingError:
            # libpq's own words quote from it, perhaps the password.
            where = f"database.dsn_file: {self.dsn_file}" if self.dsn_file else "database.dsn"
            raise ConfigError(f"{where}: not a connection string that libpq understands") from None
        return text


class RetentionSection(Section, frozen=True):
    """How long is kept what is over; 0: for ever.

    :ivar deleted_days: servers, volumes, snapshots, images and networks that are deleted, with all
        that is known of them.
    :ivar operations_days: operations that have ended, on things that are still there.
    :ivar addresses_days: who had which public address.
    """

    deleted_days: Days = 400.0
    operations_days: Days = 90.0
    addresses_days: Days = 0.0

    def age_seconds(self, kind: str) -> float:
        """The age after its end at which something is thrown away; 0: never.

        :param kind: ``operation``, ``address_history``, or a thing that can be deleted.
        """
        names = {"operation": self.operations_days, "address_history": self.addresses_days}
        return names.get(kind, self.deleted_days) * 86_400.0
