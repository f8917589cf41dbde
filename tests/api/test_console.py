"""The console's page and what belongs to it: served as it is, with strict headers, and no more."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest_twisted
import treq
from twisted.web.client import Agent
from twisted.web.resource import Resource

from cyclades_tx.api import console
from cyclades_tx.api.console import FOLDER, LIBRARY, files, mount
from cyclades_tx.api.frame import Frame
from cyclades_tx.api.site import ApiSite
from cyclades_tx.console.interfaces import Reason
from cyclades_tx.identity.memory import MemoryIdentity

#: Of every file of noVNC 1.7.0 that is shipped, as its package has them.
NOVNC_DIGEST = "25650db455b2fb3387349661f37b3520345f304aa8a9caf2ed9a1742841c48d8"
HOSTILE = (
    "..%2fapp.py", "%2e%2e/app.py", "novnc-1.7.0/../../app.py", "novnc-1.7.0", "index.html%00",
    "/etc/passwd", "%2fetc%2fpasswd", "console.css/", "\\..\\app.py", "x" * 5000,
)  # fmt: skip


class Door(Resource):
    """Stands for the WebSocket."""

    isLeaf = True

    def render(self, request: Any) -> bytes:
        return b"a door"


@pytest_twisted.async_yield_fixture
async def ask() -> Any:
    """Ask a site with the page."""
    from twisted.internet import reactor

    frame = Frame(reactor, MemoryIdentity(reactor), "https://cloud.example.org")
    mount(frame, Door())
    port: Any = reactor.listenTCP(0, ApiSite(frame.resource(), 1024), interface="127.0.0.1")

    async def get(path: str, method: str = "GET") -> tuple[int, Any, bytes]:
        url = f"http://127.0.0.1:{port.getHost().port}{path}"
        reply = await treq.request(
            method, url, agent=Agent(reactor), allow_redirects=False, timeout=30
        )
        return reply.code, reply.headers, await reply.content()

    yield get
    await port.stopListening()


def header(headers: Any, name: str) -> str:
    """One header."""
    (value,) = headers.getRawHeaders(name)
    return str(value)


async def test_page_and_all_that_it_names_are_served_with_strict_headers(ask: Any) -> None:
    """Nothing inline, nothing from elsewhere; the library's files may be kept for ever."""
    status, headers, body = await ask("/console/")
    page = body.decode()
    assert status == 200 and header(headers, "cache-control") == "no-cache"
    named = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert sorted(named) == ["console.css", "console.js", "icon.svg"]
    assert not re.search(r"<script(?![^>]* src=)|<style|style=|\son\w+=|https?://", page)
    for path in ("", *named, f"{LIBRARY}core/rfb.js"):
        status, headers, body = await ask(f"/console/{path}")
        assert status == 200 and body
        allowed = dict(
            part.strip().split(" ", 1)
            for part in header(headers, "content-security-policy").split(";")
        )
        assert allowed["default-src"] == "'none'"
        assert allowed["script-src"] == allowed["style-src"] == "'self'"
        assert allowed["connect-src"] == "'self' wss://cloud.example.org"
        assert allowed["frame-ancestors"] == allowed["base-uri"] == "'none'"
        assert header(headers, "referrer-policy") == "no-referrer"
        assert header(headers, "x-content-type-options") == "nosniff"
        assert header(headers, "x-frame-options") == "DENY"
    assert "immutable" in header(headers, "cache-control")
    assert header(headers, "content-type").startswith("text/javascript")


async def test_every_module_that_is_imported_is_served(ask: Any) -> None:
    """From the page's own script on, through the whole library."""
    known = files()
    todo, seen = ["console.js"], set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        folder = name.rpartition("/")[0]
        text = known[name].decode()
        for found in re.findall(r"""(?:import|from)\s+['"](\.[^'"]+)['"]""", text):
            parts: list[str] = folder.split("/") if folder else []
            for part in found.split("/"):
                if part == "..":
                    parts.pop()
                elif part != ".":
                    parts.append(part)
            todo.append("/".join(parts))
    assert len(seen) > 40
    assert (await ask(f"/console/{max(seen)}"))[0] == 200


async def test_nothing_else_is_served(ask: Any) -> None:
    """Whatever a stranger puts into the path."""
    for path in HOSTILE:
        status, _, body = await ask(f"/console/{path}")
        assert status == 404, path
        assert b"import" not in body
    assert (await ask("/console/", "POST"))[0] == 405
    status, headers, _ = await ask("/console")
    assert (status, header(headers, "location")) == (301, "https://cloud.example.org/console/")


async def test_websocket_has_its_own_door(ask: Any) -> None:
    """No endpoint answers there."""
    assert await ask("/console/ws") != (404, None, b"")
    assert (await ask("/console/ws"))[2] == b"a door"
    assert (await ask("/console/ws/x"))[0] == 404


def test_library_is_shipped_as_it_is_with_its_licence() -> None:
    """Each byte of it; the licences are beside it."""
    digest = hashlib.sha256()
    library = FOLDER / LIBRARY
    for path in sorted(library.rglob("*")):
        if path.is_file():
            name = path.relative_to(library).as_posix()
            digest.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    assert digest.hexdigest() == NOVNC_DIGEST
    for name in ("LICENSE.txt", "docs/LICENSE.MPL-2.0", "vendor/pako/LICENSE"):
        assert (library / name).stat().st_size > 500


def test_page_has_words_for_every_reason() -> None:
    """Passwords are the viewers' alone."""
    script = files()["console.js"].decode()
    words = set(re.findall(r"^  ([a-z_]+): \{ title", script, re.MULTILINE))
    assert {each.value for each in Reason if each is not Reason.WRONG_PASSWORD} == words - {"lost"}


def test_policy_follows_the_scheme() -> None:
    """A page over plain HTTP opens a plain WebSocket."""
    assert "connect-src 'self' ws://127.0.0.1:8774;" in console.policy("http://127.0.0.1:8774")
