"""A search for secrets in everything that a deployment leaves behind, or shows."""

from __future__ import annotations

import base64
import re
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.scenario.cloud import Books, Service

#: The last part of a URL that opens something, as a log might show it.
_SHORTEST_FORM = 8
LIVE_URL = re.compile(rb"(?:server-params|nocloud)/[\w-]{43}")


def forms(secret: str) -> Iterator[bytes]:
    """As what a secret may turn up: as it is, in base64 (of any beginning), in hexadecimals."""
    plain = secret.encode()
    yield plain
    yield plain.hex().encode()
    for before in range(3):
        # Without the characters at the ends, in which bits of neighbors are.
        encoded = base64.b64encode(b"\0" * before + plain)[4 if before else 0 : -4]
        # What is shorter is found by chance.
        if len(encoded) >= _SHORTEST_FORM:
            yield encoded


class Planted:
    """Secrets of one test, that no other test has: one server of many shares their places."""

    def __init__(self) -> None:
        mark = secrets.token_hex(8)
        self.password = f"Planted-1-{mark}"
        self.contents = f"planted contents of a file that nobody may read {mark}"
        self.user_data = f"#!/bin/sh\necho planted user data that nobody may read {mark}\n"

    def __iter__(self) -> Iterator[str]:
        return iter((self.password, self.contents, self.user_data))

    @property
    def body(self) -> dict[str, Any]:
        """What a request for a server has of them."""
        return {
            "adminPass": self.password,
            "user_data": base64.b64encode(self.user_data.encode()).decode(),
            "personality": [
                {
                    "path": "/etc/planted",
                    "contents": base64.b64encode(self.contents.encode()).decode(),
                }
            ],
            "config_drive": True,
        }


class Search:
    """Looks for secrets, and remembers where it has found any.

    :ivar found: sentences.
    :ivar looked: how much was looked through, in bytes.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._forms = {form: secret for secret in secrets for form in forms(secret)}
        self.found: list[str] = []
        self.looked = 0

    def text(self, place: str, content: bytes) -> None:
        """Look through some bytes."""
        self.looked += len(content)
        lower = content.lower()
        for form, secret in self._forms.items():
            if form.lower() in lower:
                self.found.append(f"{secret!r} as {form!r} is in {place}")

    def folder(self, folder: Path, but: str = "") -> None:
        """Look through every file below a folder.

        :param but: files whose names end so are left out.
        """
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not (but and path.name.endswith(but)):
                # Ganeti moves its jobs' files.
                with suppress(FileNotFoundError):
                    self.text(str(path), path.read_bytes())

    def database(self, books: Books) -> None:
        """Look through every column of every row, those of bytes in hexadecimals."""
        tables = books.rows("select tablename from pg_tables where schemaname = 'public'")
        assert len(tables) > 20
        for (table,) in tables:
            for row in books.rows(f'select t::text as whole from "{table}" t'):
                self.text(f"table {table}", row.whole.encode())

    def server(self, books: Books, since: str) -> None:
        """Look through what PostgreSQL has written of a database, and shows of its sessions.

        That is its log, the write-ahead log, the files of the database (rows that were deleted are
        there still), those that all databases share, and the last statement of each session.

        :param since: the segment of the write-ahead log (:func:`segment`) in which a test began.
        """
        (place,) = books.rows(
            "select current_setting('data_directory') as folder,"
            " (select oid from pg_database where datname = current_database()) as number"
        )
        # Such a commit waits until everything before it is written.
        books.rows("set synchronous_commit = on")
        books.rows("select pg_logical_emit_message(true, 'search', '')")
        folder, last = Path(place.folder), segment(books)
        written = [path for path in (folder / "pg_wal").iterdir() if since <= path.name <= last]
        assert written
        for path in written:
            with suppress(FileNotFoundError):
                self.text(f"the write-ahead log, {path.name}", path.read_bytes())
        # What is in memory only goes to the files.
        books.rows("checkpoint")
        self.folder(folder / "base" / str(place.number))
        self.folder(folder / "global")
        self.text("PostgreSQL's log", (folder.parent / "postgres.log").read_bytes())
        for row in books.rows("select query from pg_stat_activity where query is not null"):
            self.text("a session of PostgreSQL", row.query.encode())

    def processes(self) -> None:
        """Look through the arguments and the environments of every process."""
        for kind in ("cmdline", "environ"):
            for path in Path("/proc").glob(f"[0-9]*/{kind}"):
                # One that has ended meanwhile, or is another user's.
                with suppress(OSError):
                    self.text(str(path), path.read_bytes())

    def service(self, service: Service) -> None:
        """Look at what a service that runs says of itself, and at its log."""
        for port, path in (
            *((service.admin_port, path) for path in ("/metrics", "/healthz?deep")),
            *((service.port, path) for path in ("/", "/healthz", "/compute/v2.1/")),
        ):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as reply:
                    self.text(path, reply.read())
            except urllib.error.HTTPError as error:
                # On a slow machine it says that it is not well.
                self.text(path, error.read())
        for urls in LIVE_URL.findall(service.log.read_bytes()):
            self.found.append(f"a URL is in the log: {urls!r}")


def segment(books: Books) -> str:
    """The segment of the write-ahead log that PostgreSQL writes now."""
    (row,) = books.rows("select pg_walfile_name(pg_current_wal_insert_lsn()) as name")
    return str(row.name)
