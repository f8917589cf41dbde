"""A Keystone and a Swift in memory, as far as a store of images speaks to them, on loopback.

Whatever holds for this one is asked of a real Swift by the same contract.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

SECRET = "a word: {} \\ é"
ACCOUNT = "/v1/AUTH_images"


@dataclass
class Held:
    """An object.

    :ivar manifest: the paths of its segments, if it is a large one.
    """

    data: bytes
    manifest: list[dict[str, Any]] | None = None
    changed_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def md5(self) -> str:
        """Its checksum, in hexadecimal digits."""
        return hashlib.md5(self.data).hexdigest()


@dataclass
class Fault:
    """What goes wrong, and how often.

    :ivar kind: a status; or ``hang``: no answer; ``cut``: half of the answer.
    """

    method: str
    part: str
    kind: int | str
    times: int = 1


class MemorySwift(Resource):
    """The double.

    :param catalog: more services of Keystone's catalog.
    :ivar asked: method and path of each request.
    :ivar logins: how often somebody logged in.
    """

    isLeaf = True

    def __init__(self, token_seconds: float = 3600.0) -> None:
        super().__init__()
        self.token_seconds = token_seconds
        self.containers: dict[str, dict[str, Held]] = {}
        self.quota_bytes: int | None = None
        self.tokens: set[str] = set()
        self.faults: list[Fault] = []
        self.asked: list[tuple[str, str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.logins = 0
        self.hung: list[Any] = []
        #: In place of its own: of another Object Storage, for which it is the Keystone.
        self.account_url: str | None = None
        self.next_token = ""
        self._port: Any = None
        self._scheme = "http"

    def listen(self, reactor: Any, tls: Any = None) -> None:
        """Begin to listen.

        :param tls: with which certificate; None: without TLS.
        """
        if tls is None:
            self._port = reactor.listenTCP(0, Site(self), interface="127.0.0.1")
            return
        self._port = reactor.listenSSL(0, Site(self), tls, interface="127.0.0.1")
        self._scheme = "https"

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{self._scheme}://127.0.0.1:{self._port.getHost().port}"

    async def close(self) -> None:
        """Stop to listen, and cut what hangs."""
        for request in self.hung:
            if request.channel is not None:
                request.channel.transport.abortConnection()
        await self._port.stopListening()

    def fail(self, method: str, part: str, kind: int | str, times: int = 1) -> None:
        """Let something go wrong.

        :param part: of the path.
        """
        self.faults.append(Fault(method, part, kind, times))

    def paths(self, container: str = "images") -> list[str]:
        """What a container has."""
        return sorted(self.containers.get(container, {}))

    # -- the wire --------------------------------------------------------------------------

    def render(self, request: Any) -> Any:
        """Answer."""
        method, path = request.method.decode(), unquote(request.path.decode())
        self.asked.append((method, path))
        for fault in self.faults:
            if fault.times and fault.method == method and fault.part in path:
                fault.times -= 1
                if fault.kind == "hang":
                    self.hung.append(request)
                    return NOT_DONE_YET
                if fault.kind == "cut":
                    return self._cut(request, path)
                request.setResponseCode(fault.kind)
                return b"<html>It does not work.</html>"
        if path == "/v3/auth/tokens":
            return self._log_in(request)
        if request.getHeader("x-auth-token") not in self.tokens:
            request.setResponseCode(401)
            return b"who is it?"
        assert path.startswith(ACCOUNT), path
        container, _, name = path.removeprefix(ACCOUNT).lstrip("/").partition("/")
        work = getattr(self, f"_{method.lower()}_{'object' if name else 'container'}")
        status, body = work(request, container, name)
        request.setResponseCode(status)
        return body

    def _log_in(self, request: Any) -> bytes:
        self.logins += 1
        auth = json.load(request.content)["auth"]
        self.bodies.append(auth)
        identity = auth["identity"]
        given = (
            identity["password"]["user"]["password"]
            if identity["methods"] == ["password"]
            else identity["application_credential"]["secret"]
        )
        if given != SECRET:
            request.setResponseCode(401)
            return b'{"error": {}}'
        token = self.next_token or uuid4().hex
        self.tokens.add(token)
        request.setResponseCode(201)
        request.setHeader("X-Subject-Token", token)
        ends = datetime.now(UTC) + timedelta(seconds=self.token_seconds)
        url = self.account_url or self.url + ACCOUNT
        endpoints = [
            {"interface": interface, "region_id": "one", "url": url if right else url + "wrong"}
            for interface, right in (("admin", False), ("public", True))
        ]
        catalog = [{"type": "image", "endpoints": []}]
        catalog.append({"type": "object-store", "endpoints": endpoints})
        said = {"expires_at": ends.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "catalog": catalog}
        return json.dumps({"token": said}).encode()

    def _put_container(self, request: Any, container: str, name: str) -> tuple[int, bytes]:
        self.containers.setdefault(container, {})
        return 201, b""

    def _head_container(self, request: Any, container: str, name: str) -> tuple[int, bytes]:
        kind = "Container" if container else "Account"
        places = [container] if container else list(self.containers)
        held = [each for place in places for each in self.containers.get(place, {}).values()]
        request.setHeader(f"X-{kind}-Bytes-Used", str(sum(len(each.data) for each in held)))
        if container and self.quota_bytes is not None:
            request.setHeader("X-Container-Meta-Quota-Bytes", str(self.quota_bytes))
        return 204, b""

    def _get_container(self, request: Any, container: str, name: str) -> tuple[int, bytes]:
        def said(key: bytes) -> str:
            found: str = request.args.get(key, [b""])[0].decode()
            return found

        if container not in self.containers:
            return 404, b""
        prefix, delimiter, marker = said(b"prefix"), said(b"delimiter"), said(b"marker")
        found: dict[str, dict[str, Any]] = {}
        for path, held in self.containers[container].items():
            if not path.startswith(prefix):
                continue
            rest = path.removeprefix(prefix)
            if delimiter and delimiter in rest:
                whole = prefix + rest.partition(delimiter)[0] + delimiter
                found[whole] = {"subdir": whole}
                continue
            changed = held.changed_at.strftime("%Y-%m-%dT%H:%M:%S.%f")
            size = len(held.data)
            found[path] = {"name": path, "bytes": size, "hash": held.md5, "last_modified": changed}
        page = [found[path] for path in sorted(found) if path > marker][: int(said(b"limit"))]
        return 200, json.dumps(page).encode()

    def _put_object(self, request: Any, container: str, name: str) -> tuple[int, bytes]:
        if container not in self.containers:
            return 404, b""
        objects = self.containers[container]
        if request.getHeader("if-none-match") == "*" and name in objects:
            return 412, b""
        held = Held(request.content.read())
        if request.args.get(b"multipart-manifest") == [b"put"]:
            parts = json.loads(held.data)
            begin = f"/{container}/"
            for each in parts:
                there = objects.get(each["path"].removeprefix(begin))
                if there is None or (each["etag"], each["size_bytes"]) != (
                    there.md5,
                    len(there.data),
                ):
                    return 400, b"a segment is not what was said"
            held = Held(b"", parts)
        objects[name] = held
        request.setHeader("ETag", held.md5)
        return 201, b""

    def _head_object(self, request: Any, container: str, name: str) -> tuple[int, bytes]:
        return (200 if name in self.containers.get(container, {}) else 404), b""

    def _get_object(self, request: Any, container: str, name: str) -> tuple[int, bytes]:
        held = self.containers.get(container, {}).get(name)
        if held is None:
            return 404, b""
        if held.manifest is not None:
            assert request.args.get(b"multipart-manifest") == [b"get"]
            told = [
                {"name": each["path"], "bytes": each["size_bytes"], "hash": each["etag"]}
                for each in held.manifest
            ]
            return 200, json.dumps(told).encode()
        asked = request.getHeader("range")
        if asked is None:
            return 200, held.data
        first = int(asked.removeprefix("bytes=").rstrip("-"))
        return 206, held.data[first:]

    def _delete_object(self, request: Any, container: str, name: str) -> tuple[int, bytes]:
        found = self.containers.get(container, {}).pop(name, None)
        return (404 if found is None else 204), b""

    def _cut(self, request: Any, path: str) -> Any:
        container, _, name = path.removeprefix(ACCOUNT).lstrip("/").partition("/")
        status, data = self._get_object(request, container, name)
        request.setResponseCode(status)
        request.setHeader("content-length", str(len(data)))
        request.write(data[: len(data) // 2])
        request.channel.loseConnection()
        return NOT_DONE_YET
