"""Every route of every service, asked as nobody should: always a fault in its own shape."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol

from cyclades_tx import app
from cyclades_tx.api.site import ApiSite
from cyclades_tx.identity.logins import DEFAULT, UNSCOPED, PasswordLogin, Person
from cyclades_tx.testing import builders
from tests.loops.cloud import Cloud

ROLES = ("api", "vmapi")
#: What changes because somebody asks who is who.
UNCOUNTED = {"token", "login_attempt", "process"}


@dataclass
class Answer:
    """A reply as it came."""

    status: int
    headers: dict[str, str]
    body: bytes


class Reader(Protocol):
    """One connection that stays; one request after another."""

    def __init__(self) -> None:
        self.buffer = b""
        self.waiting: Deferred[Answer] | None = None
        self.open = True
        self.head = False

    def send(self, data: bytes, head: bool = False) -> Deferred[Answer]:
        """Send a request; fires with the reply."""
        self.waiting = Deferred()
        self.head = head
        self.transport.write(data)
        return self.waiting

    def dataReceived(self, data: bytes) -> None:
        self.buffer += data
        self._look(False)

    def connectionLost(self, reason: Any = None) -> None:
        self.open = False
        self._look(True)

    def _look(self, over: bool) -> None:
        if self.waiting is None:
            return
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            if over:
                self._give(Answer(0, {}, self.buffer))
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        status = int(first.split(" ")[1])
        headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
        length = headers.get("content-length")
        size = 0 if self.head or status in (204, 304) else None if length is None else int(length)
        if over or (size is not None and len(rest) >= size):
            self.buffer = b"" if size is None else rest[size:]
            self._give(Answer(status, headers, rest if size is None else rest[:size]))

    def _give(self, answer: Answer) -> None:
        waiting, self.waiting = self.waiting, None
        assert waiting is not None
        if answer.headers.get("connection", "").lower() == "close":
            # Who is answered before the body was read sends nothing more on this connection.
            self.open = False
            self.transport.loseConnection()
        waiting.callback(answer)


@dataclass
class Wire:
    """The whole API on the loopback, and what is known of its database."""

    cloud: Cloud
    frame: Any
    number: int
    tokens: dict[str, str]
    server: str
    reader: Reader | None = None

    async def ask(
        self,
        method: str,
        path: str | bytes,
        token: str | None = None,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send a request on the connection that is kept."""
        raw = path if isinstance(path, bytes) else path.encode("utf-8")
        sent = {"Host": "127.0.0.1", **(headers or {})}
        if token is not None:
            sent["X-Auth-Token"] = token
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
            sent.setdefault("Content-Length", str(len(body)))
        lines = [method.encode() + b" " + raw + b" HTTP/1.1"]
        lines += [f"{name}: {value}".encode("latin-1") for name, value in sent.items()]
        return await self.send(b"\r\n".join(lines) + b"\r\n\r\n" + (body or b""), method == "HEAD")

    async def send(self, data: bytes, head: bool = False) -> Answer:
        """Send bytes; a connection that was closed is opened anew."""
        if self.reader is None or not self.reader.open:
            point = TCP4ClientEndpoint(self.cloud.reactor, "127.0.0.1", self.number)
            self.reader = await connectProtocol(point, Reader())
        answer = self.reader.send(data, head)
        answer.addTimeout(20, self.cloud.reactor)
        return await answer

    def routes(self) -> Iterator[tuple[str, str, tuple[str, ...]]]:
        """Method, path with ``{}`` for each argument, and the arguments, of every endpoint."""
        for rule in self.frame.klein.url_map.iter_rules():
            path = "".join(
                "{}" if dynamic else text for dynamic, text in rule._trace if text != "|"
            )
            for method in sorted(rule.methods - {"HEAD", "OPTIONS"}):
                yield method, path, tuple(text for dynamic, text in rule._trace if dynamic)

    async def books(self) -> dict[str, int]:
        """How many rows each table has, and a digest of what may be changed in place."""
        tables = await self.cloud.database.all(
            "select tablename from pg_tables where schemaname = 'public'"
        )
        counted: dict[str, Any] = {}
        for (name,) in tables:
            if name not in UNCOUNTED:
                counted[name] = tuple(
                    await self.cloud.database.first(
                        f"select count(*), md5(string_agg(t::text, '|' order by t::text))"
                        f" from {name} t"
                    )
                )
        return counted


def fault_of(path: str, answer: Answer) -> str:
    """What is wrong with a reply; empty when it is as its service writes it."""
    if answer.status == 0:
        return "no reply"
    if "x-openstack-request-id" not in answer.headers:
        return "no request id"
    if answer.status >= 500 and answer.status != 501:
        return "a fault of ours"
    if answer.status < 400:
        return ""
    service = path.split("/")[1].partition("?")[0]
    kind = answer.headers.get("content-type", "")
    if service == "image":
        good = kind.startswith("text/html") and f"<h1>{answer.status} ".encode() in answer.body
        return "" if good else "not a fault of Image"
    try:
        document = json.loads(answer.body)
    except ValueError:
        return f"not JSON: {answer.body[:100]!r}"
    if service == "network":
        good = set(document) == {"NeutronError"} and set(document["NeutronError"]) == {
            "type", "message", "detail",
        }  # fmt: skip
    elif service == "identity":
        good = set(document) == {"error"} and document["error"]["code"] == answer.status
    else:
        good = len(document) == 1 and next(iter(document.values()))["code"] == answer.status
    return "" if good and kind == "application/json" else f"another shape: {document}"


@pytest_twisted.async_yield_fixture
async def wire(dsn: str, tmp_path: Path) -> AsyncIterator[Wire]:
    """The service as it is mounted, a member with a server, an administrator and a stranger."""
    from twisted.internet import reactor

    cloud = Cloud(reactor, tmp_path, dsn)
    world = cloud.world
    await cloud.equip()
    cluster = await builders.a_cluster(cloud.database)
    tokens: dict[str, str] = {}
    for name, role in (("owner", "member"), ("stranger", "member"), ("admin", "admin")):
        project_id = await world.people.create_project(name)
        user_id = await world.people.create_user(name, "secret", default_project_id=project_id)
        await world.people.assign_role(user_id, project_id, role)
        login = PasswordLogin(Person("name", name), "secret")
        tokens[name] = (await world.identity.log_in(login, DEFAULT, "192.0.2.1")).token
        if name == "owner":
            tokens["unscoped"] = (await world.identity.log_in(login, UNSCOPED, "192.0.2.1")).token
            owner = await world.identity.authenticate(tokens[name])
    server = await builders.a_server(
        cloud.database, owner, cloud.flavor, cluster=cluster, metadata={"x": "y"}, tags=("x",)
    )
    frame = app.api(world, ROLES)
    site = ApiSite(frame.resource(), world.config.server.max_body_bytes)
    port = reactor.listenTCP(0, site, interface="127.0.0.1")
    made = Wire(cloud, frame, port.getHost().port, tokens, server.uuid)
    yield made
    if made.reader is not None and made.reader.open:
        made.reader.transport.loseConnection()
    await port.stopListening()
    await cloud.close()


class Complaints:
    """What was wrong, and how much was asked."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.statuses: Counter[int] = Counter()

    def look(self, what: str, path: str, answer: Answer) -> None:
        """Look at one reply."""
        self.statuses[answer.status] += 1
        wrong = fault_of(path, answer)
        if wrong:
            self.found.append(f"{what[:150]}: {answer.status}: {wrong}")

    def check(self, least: int) -> None:
        """Nothing was wrong, and enough was asked."""
        assert self.found == [], "\n".join(self.found[:40])
        assert sum(self.statuses.values()) >= least
        assert any(400 <= status < 500 for status in self.statuses)


PATHS: dict[str, Callable[[Wire], str]] = {
    "another's server": lambda wire: wire.server,
    "a UUID of nothing": lambda wire: "00000000-0000-4000-8000-000000000000",
    "an id of nothing": lambda wire: "0" * 32,
    "a number": lambda wire: "1",
    "a space": lambda wire: "%20",
    "NUL": lambda wire: "%00",
    "not UTF-8": lambda wire: "%FF",
    "dots": lambda wire: "..%2F..%2Fetc",
    "two dots": lambda wire: "..",
    "SQL": lambda wire: "x'%20or%20'1'='1%25s;--",
    "unicode": lambda wire: "%F0%9F%98%80%C2%B2%E2%80%A8",
    "a surrogate": lambda wire: "%ED%A0%80",
    "five thousand": lambda wire: "a" * 5000,
    "a line break": lambda wire: "a%0D%0AX-Evil:%20yes",
    "percent signs": lambda wire: "%25%25s%25(x)s",
}


async def test_no_path_breaks_a_route(wire: Wire) -> None:
    """Whatever stands where an id should be; a stranger finds nothing of others."""
    before = await wire.books()
    complaints = Complaints()
    for method, pattern, arguments in wire.routes():
        for name, make in PATHS.items() if arguments else ():
            text = make(wire)
            path = pattern.format(*[text] * len(arguments))
            body = b"{}" if method in ("POST", "PUT", "PATCH") else None
            answer = await wire.ask(method, path, wire.tokens["stranger"], body)
            complaints.look(f"{method} {pattern} with {name}", path, answer)
            assert "x-evil" not in answer.headers
    complaints.check(1000)
    assert await wire.books() == before


async def test_no_route_lets_anybody_in_without_a_good_token(wire: Wire) -> None:
    """None, nonsense, one without a project, and one that ends in the middle."""
    before = await wire.books()
    complaints = Complaints()
    tokens = {
        "none": None,
        "an empty one": "",
        "nonsense": "x",
        "a long one": "x" * 4000,
        "not ASCII": "\xff\xfe",
        "half": wire.tokens["owner"][:20],
        "without a project": wire.tokens["unscoped"],
    }
    for method, pattern, arguments in wire.routes():
        path = pattern.format(*[wire.server] * len(arguments))
        for name, token in tokens.items():
            body = b"{}" if method in ("POST", "PUT", "PATCH") else None
            answer = await wire.ask(method, path, token, body)
            complaints.look(f"{method} {pattern} with token {name}", path, answer)
            if path.startswith(("/compute/v2.1/servers", "/network/v2.0/net")):
                assert answer.status in (401, 403), (path, name, answer)
    complaints.check(700)
    assert await wire.books() == before


NESTED = b'{"a":' * 10_000
BODIES: dict[str, bytes] = {
    "nothing": b"",
    "half": b'{"server": {"name": "a',
    "10,000 braces": NESTED,
    "10,000 brackets": b"[" * 10_000 + b"]" * 10_000,
    "nested well": NESTED + b"1" + b"}" * 10_000,
    "a list": b"[]",
    "a text": b'"server"',
    "a number": b"1e400",
    "null": b"null",
    "an unknown member": b'{"nonsense": {"a": 1}}',
    "two roots": b"{}{}",
    "not UTF-8": b'{"server": "\xff\xfe"}',
    "half a surrogate": b'{"server": "\\ud800"}',
    "NUL": b'{"server": "\\u0000"}',
    "not JSON": b"<server/>",
}


@pytest.mark.parametrize("person", ["owner", "admin"])
async def test_no_body_breaks_a_route(wire: Wire, person: str) -> None:
    """Whatever is sent to be read."""
    before = await wire.books()
    complaints = Complaints()
    for method, pattern, arguments in wire.routes():
        if method not in ("POST", "PUT", "PATCH") or "/tags/" in pattern:
            continue
        path = pattern.format(*["00000000-0000-4000-8000-000000000000"] * len(arguments))
        for name, body in BODIES.items():
            answer = await wire.ask(method, path, wire.tokens[person], body)
            complaints.look(f"{method} {pattern} with {name}", path, answer)
        for kind in ("text/plain", "application/xml", "\xff", "application/json; charset=utf-16"):
            headers = {"Content-Type": kind}
            answer = await wire.ask(method, path, wire.tokens[person], b"{}", headers)
            complaints.look(f"{method} {pattern} as {kind}", path, answer)
    complaints.check(300)
    assert await wire.books() == before


VALUES = (None, True, -1, 10**30, 1.5, "", "\u2028", "x" * 70_000, [], [None], {}, {"a": {}}, [[1]])

FORMS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("POST", "/compute/v2.1/servers", "server", {
        "name": "a", "flavorRef": "F", "imageRef": "I", "networks": "none", "key_name": None,
        "metadata": {}, "user_data": "", "adminPass": "x", "security_groups": [],
        "availability_zone": None, "config_drive": False, "description": "d", "hostname": "h",
        "tags": [], "min_count": 1, "max_count": 1, "accessIPv4": "192.0.2.1",
        "accessIPv6": "::1", "OS-DCF:diskConfig": "AUTO", "block_device_mapping_v2": []}),
    ("PUT", "/compute/v2.1/servers/S", "server", {
        "name": "a", "description": "d", "accessIPv4": "192.0.2.1", "hostname": "h"}),
    ("POST", "/compute/v2.1/os-keypairs", "keypair", {
        "name": "k", "public_key": "ssh-ed25519 x", "type": "ssh", "user_id": "u"}),
    ("POST", "/compute/v2.1/servers/S/metadata", "metadata", {"a": "b"}),
    ("POST", "/compute/v2.1/servers/S/action", "reboot", {"type": "HARD"}),
    ("POST", "/identity/v3/users", "user", {
        "name": "n", "password": "p", "enabled": True, "domain_id": "default",
        "default_project_id": "x", "description": "d", "email": "e"}),
    ("POST", "/identity/v3/projects", "project", {
        "name": "n", "description": "d", "enabled": True, "domain_id": "default",
        "parent_id": "default", "is_domain": False, "tags": []}),
    ("POST", "/identity/v3/auth/tokens", "auth", {
        "identity": {"methods": ["password"], "password": {"user": {"name": "n"}}},
        "scope": {"project": {"name": "p"}}}),
)  # fmt: skip


async def test_no_value_breaks_a_member(wire: Wire) -> None:
    """Each member of each form with each kind of value."""
    complaints = Complaints()
    for method, template, root, form in FORMS:
        path = template.replace("/S", f"/{wire.server}")
        for member, row in (("flavorRef", wire.cloud.flavor), ("imageRef", wire.cloud.image)):
            if member in form:
                form[member] = row.uuid
        for member in form:
            for value in VALUES:
                data = json.dumps({root: {**form, member: value}}).encode()
                answer = await wire.ask(
                    method, path, wire.tokens["admin"], data,
                    {"OpenStack-API-Version": "compute 2.96"},
                )  # fmt: skip
                complaints.look(f"{method} {path} {member}={str(value)[:30]}", path, answer)
    complaints.check(500)


QUERIES = (
    b"?%FF=1", b"?limit=%FF", b"?marker=%00", b"?limit=-1&limit=x", b"?limit=9" + b"9" * 400,
    b"?marker=%27%20or%201=1--", b"?sort_key=%27;drop&sort_dir=%22", b"?name=" + b"%28" * 500,
    b"?status=%F0%9F%98%80", b"?changes-since=yesterday", b"?fields=x&fields=%00", b"?&&&===",
    b"?id=1&id=2&name=%25&tags=%2C%2C",
)  # fmt: skip


async def test_no_query_breaks_a_read(wire: Wire) -> None:
    """Neither its names nor its values."""
    complaints = Complaints()
    for method, pattern, arguments in wire.routes():
        if method != "GET" or len(arguments) > 1:
            continue
        path = pattern.format(*[wire.server] * len(arguments))
        for query in QUERIES:
            answer = await wire.ask("GET", path.encode() + query, wire.tokens["owner"])
            complaints.look(f"GET {pattern}{query[:60]!r}", path, answer)
    complaints.check(500)


@pytest.mark.parametrize(
    "version",
    ["compute 2.97", "compute 99.99", "compute 2." + "9" * 500, "compute x", "compute", "",
     "compute -1.-1", "compute 2.\xb2", "volume 3.0", "compute 2.1, compute 2.96", "latest"],
)  # fmt: skip
async def test_no_microversion_breaks_compute(wire: Wire, version: str) -> None:
    """406 or 400, or it is not meant for this service."""
    complaints = Complaints()
    headers = {"OpenStack-API-Version": version, "X-OpenStack-Nova-API-Version": version[8:]}
    for path in ("/compute/v2.1/servers", f"/compute/v2.1/servers/{wire.server}", "/network/v2.0"):
        answer = await wire.ask("GET", path, wire.tokens["owner"], None, headers)
        assert answer.status in (200, 400, 406)
        complaints.look(f"{path} in {version[:30]}", path, answer)
    assert complaints.found == []


@pytest.mark.parametrize(
    "host", ["", "..", "x" * 5000, "\xff", "a b", "[::1", "a/b?c", "evil.example:99999999", "_"]
)
async def test_no_host_breaks_a_reply_or_comes_into_it(wire: Wire, host: str) -> None:
    """Links name the public address, whatever the client says."""
    for path in ("/compute/v2.1/servers", "/compute", "/identity/v3", "/image/versions", "/"):
        headers = {"Host": host, "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "gopher"}
        answer = await wire.ask("GET", path, wire.tokens["owner"], None, headers)
        assert fault_of(path, answer) == "", (path, answer)
        assert b"evil" not in answer.body and b"gopher" not in answer.body
        assert len(host) < 3 or host.encode("latin-1") not in answer.body


@pytest.mark.parametrize(
    "path", ["/compute/v2.1/servers", "/network/v2.0/networks", "/identity/v3/auth/tokens"]
)
@pytest.mark.parametrize("announced", [True, False])
async def test_fifty_megabytes_are_413_in_the_service_s_shape(
    wire: Wire, path: str, announced: bool
) -> None:
    """By the announced length, or as soon as it is too much."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {wire.tokens['owner']}\r\n"
    if announced:
        data = f"{head}Content-Length: {50 * 2**20}\r\n\r\n".encode()
    else:
        chunk = b"a" * 2**20
        data = f"{head}Transfer-Encoding: chunked\r\n\r\n".encode()
        data += b"%x\r\n%b\r\n" % (len(chunk), chunk) * 2
    answer = await wire.send(data)
    assert answer.status == 413
    assert fault_of(path, answer) == ""


@pytest.mark.parametrize(
    "line",
    ["Content-Length: -1", "Content-Length: x", "Content-Length: 1, 2", "Content-Length: 0x10",
     "Content-Length: 5\r\nContent-Length: 6", "Content-Length: +5",
     "Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: gzip"],
)  # fmt: skip
async def test_a_length_that_cannot_be_read_ends_the_connection(wire: Wire, line: str) -> None:
    """Before anything of it is taken for a request: what follows may be another's."""
    before = await wire.books()
    head = f"POST /compute/v2.1/servers HTTP/1.1\r\nHost: x\r\n{line}\r\n"
    answer = await wire.send(f"{head}X-Auth-Token: {wire.tokens['owner']}\r\n\r\n{{}}".encode())
    assert 400 <= answer.status < 500 or answer.status == 501
    assert await wire.books() == before
    assert (await wire.ask("GET", "/healthz")).status == 200


async def test_a_reader_writes_nothing(wire: Wire) -> None:
    """On no route that changes what a project has."""
    world = wire.cloud.world
    owner = await world.identity.authenticate(wire.tokens["owner"])
    user_id = await world.people.create_user("reader", "secret")
    await world.people.assign_role(user_id, owner.project_id, "reader")
    await wire.cloud.database.run(
        "update user_account set default_project_id = %s where id = %s",
        (owner.project_id, user_id),
    )
    login = PasswordLogin(Person("name", "reader"), "secret")
    token = (await world.identity.log_in(login, DEFAULT, "192.0.2.1")).token
    before = await wire.books()
    for method, pattern, arguments in wire.routes():
        if method == "GET" or not pattern.startswith(("/compute", "/network", "/image")):
            continue
        path = pattern.format(*[wire.server] * len(arguments))
        answer = await wire.ask(method, path, token, b"{}")
        assert 400 <= answer.status < 500 or answer.status == 501, (method, path, answer)
    assert await wire.books() == before
