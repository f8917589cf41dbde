"""``/console/``: the page that shows a machine's screen in a browser, with noVNC beside it.

It holds no secret: whoever opens it brings a ticket behind the URL's ``#``, which no browser sends.
The page may load and connect to what is here, and to nothing else.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from twisted.web.resource import IResource

from cyclades_tx.api.call import Call, Reply, Service
from cyclades_tx.api.errors import nova_fault
from cyclades_tx.api.frame import Frame
from cyclades_tx.errors import NotFound

SERVICE = Service("console", nova_fault)
PAGE = "index.html"
SOCKET = "/console/ws"
FOLDER = Path(__file__).parents[1] / "console_page"
#: The folder of the library; its name has the version, so that its files never change.
LIBRARY = "novnc-1.7.0/"

_TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
    ".txt": b"text/plain; charset=utf-8",
}
_FIXED = "public, max-age=31536000, immutable"
_FRESH = "no-cache"


def policy(public_url: str) -> str:
    """The content security policy of the page.

    Cursors and pictures inside the protocol are ``data:``; old browsers do not take a WebSocket
    to the page's own host for ``'self'``.
    """
    parts = urlsplit(public_url)
    socket = f"{'wss' if parts.scheme == 'https' else 'ws'}://{parts.netloc}"
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
        f" connect-src 'self' {socket}; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def headers(public_url: str) -> dict[str, str]:
    """The headers of everything that belongs to the page."""
    return {
        "content-security-policy": policy(public_url),
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=(), fullscreen=(self)",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
    }


def files(folder: Path = FOLDER) -> dict[str, bytes]:
    """Every file that is served, by its name below ``/console/``."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in _TYPES
    }


def mount(frame: Frame, socket: IResource) -> None:
    """Add the page, and the WebSocket that it opens.

    :param socket: answers ``/console/ws``.
    """
    known = files()
    common = headers(frame.public_url)

    async def page(call: Call) -> Reply:
        """The page itself."""
        return Reply(200, known[PAGE], {**common, "cache-control": _FRESH}, _TYPES[".html"])

    async def file(call: Call, name: str) -> Reply:
        """What the page loads."""
        body = known.get(name)
        if body is None:
            raise NotFound("The resource could not be found.")
        kept = _FIXED if name.startswith(LIBRARY) else _FRESH
        kind = _TYPES[name[name.rindex(".") :]]
        return Reply(200, body, {**common, "cache-control": kept}, kind)

    async def elsewhere(call: Call) -> Reply:
        """Its address with a slash at the end; a browser keeps what is behind ``#``."""
        return Reply(301, None, {**common, "location": f"{frame.public_url}/console/"})

    frame.mount("/console", SERVICE)
    frame.endpoint(SERVICE, "GET", "/console/", page, token=False)
    frame.endpoint(SERVICE, "GET", "/console", elsewhere, token=False, slash=False)
    frame.endpoint(SERVICE, "GET", "/console/<path:name>", file, token=False, slash=False)
    frame.doors[SOCKET.encode()] = socket
