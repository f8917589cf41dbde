"""The bare handler of the images' bench: twisted.web alone, which checks no token and no quota.

``PUT /`` computes the checksums that the service computes and writes to one file, both as the bytes
come, and brings it to the disk; ``GET /`` reads it with twisted.web's own file producer. The
order (port and file) comes on standard input.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from typing import Any

from twisted.internet import reactor
from twisted.web.http import HTTPChannel
from twisted.web.resource import Resource
from twisted.web.server import Request, Site
from twisted.web.static import File


class Bare(Request):
    """Takes a body as it comes."""

    path_written = ""

    def gotLength(self, length: int | None) -> None:
        """Open the file."""
        super().gotLength(0)
        self.size = 0
        if length:
            self.file = os.open(self.path_written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            self.md5, self.sha512 = hashlib.md5(), hashlib.sha512()

    def handleContentChunk(self, data: bytes) -> None:
        """Hash and write."""
        self.md5.update(data)
        self.sha512.update(data)
        os.write(self.file, data)
        self.size += len(data)


class Front(Resource):
    """The one path."""

    isLeaf = True

    def render_PUT(self, request: Any) -> bytes:
        """The end of a body."""
        os.fsync(request.file)
        os.close(request.file)
        said: str = request.md5.hexdigest() + request.sha512.hexdigest()
        return said.encode()

    def render_GET(self, request: Any) -> Any:
        """The file."""
        return File(Bare.path_written, defaultType="application/octet-stream").render_GET(request)


def main() -> None:
    """Listen."""
    order = json.loads(sys.stdin.read())
    Bare.path_written = order["path"]
    site = Site(Front(), requestFactory=Bare)
    site.protocol = HTTPChannel
    loop: Any = reactor
    loop.listenTCP(order["port"], site, interface="127.0.0.1")
    loop.run()


if __name__ == "__main__":
    main()
