"""A search for secrets in everything that a deployment leaves behind, or shows."""

from __future__ import annotations

import base64
import re
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from tests.scenario.cloud import Books, Service

#: The last part of a URL that opens something, as a log might show it.
LIVE_URL = re.compile(rb"(?:server-params|nocloud)/[\w-]{43}")


def forms(secret: str) -> Iterator[bytes]:
    """As what a secret may turn up: as it is, in base64 (of any beginning), in hexadecimals."""
    plain = secret.encode()
    yield plain
    yield plain.hex().encode()
    for before in range(3):
        # Without the characters at the ends, in which bits of neighbors are.
        yield base64.b64encode(b"\0" * before + plain)[4 if before else 0 : -4]


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
            if form in content or form.lower() in lower:
                self.found.append(f"{secret!r} as {form!r} is in {place}")

    def folder(self, folder: Path) -> None:
        """Look through every file below a folder."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
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
