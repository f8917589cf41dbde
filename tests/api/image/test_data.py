"""The data of images over the real wire: sent, read, refused, and given up."""

from __future__ import annotations

import base64
import hashlib
import random
from typing import Any
from uuid import uuid4

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, serverFromString
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock, deferLater
from twisted.web.resource import Resource
from twisted.web.server import Site

from cyclades_tx.api import vmapi
from cyclades_tx.api.frame import Frame
from cyclades_tx.api.image.app import mount
from cyclades_tx.api.image.data import Data
from cyclades_tx.errors import Unavailable
from cyclades_tx.flows import image_data
from cyclades_tx.flows.image_data import GIB, ImageData
from cyclades_tx.flows.images import Images
from cyclades_tx.image_store.fetching import Fetcher
from cyclades_tx.image_store.locations import Locations
from cyclades_tx.image_store.memory import MemoryImageStore
from cyclades_tx.image_store.pace import WINDOW_SECONDS
from cyclades_tx.image_store.signing import OURS, Signer
from cyclades_tx.loops.images import Images as ImagesLoop
from cyclades_tx.model.who import Who
from cyclades_tx.sections import ImageSection
from cyclades_tx.testing import builders
from cyclades_tx.testing.loopback import Answer, Loopback
from cyclades_tx.testing.network_builders import a_member
from cyclades_tx.vault import MemorySecretStore

PATIENCE_SECONDS = 60.0
BASE = "/image/v2/images"
DATA = bytes(range(256)) * 4000
KEYS = (b"k" * 32,)


class Elsewhere(Resource):
    """A site from which images can be fetched, and what it does instead."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.base = b""
        self.asked: list[bytes] = []

    def render_GET(self, request: Any) -> Any:
        """Give the data out, or lead on."""
        self.asked.append(request.path)
        if request.path == b"/ok/data":
            return DATA
        if request.path == b"/ok/around":
            request.redirect(self.base + b"/ok/around")
            return b""
        if request.path == b"/ok/away":
            request.redirect(self.base + b"/elsewhere")
            return b""
        if request.path == b"/ok/inside":
            request.redirect(b"http://127.0.0.2:9/ok/data")
            return b""
        if request.path == b"/ok/cut":
            request.setHeader(b"content-length", b"1000000")
            request.write(b"abc")
            request.channel.transport.loseConnection()
            return b""
        request.setResponseCode(404)
        return b"nothing"


class Ground:
    """The Image service, with somebody in a project."""

    def __init__(self, reactor: Any, database: Any, port: Any, site: Elsewhere) -> None:
        self.reactor = reactor
        self.database = database
        self.site = site
        self.port = port
        #: By which it is seen how fast somebody sends.
        self.clock = Clock()
        self.number = port.getHost().port
        site.base = f"http://127.0.0.1:{self.number}".encode()
        self.store = MemoryImageStore(reactor.seconds)
        self.section = ImageSection(max_image_gib=1, project_gib=2)
        self.seconds_ahead = 0.0
        self.signer = Signer(
            KEYS, "http://cloud.example/vmapi", 600, lambda: reactor.seconds() + self.seconds_ahead
        )
        allowed = [
            f"http://127.0.0.1:{self.number}/ok",
            "http://127.0.0.2:9/ok",
            "pithos://account",
        ]
        self.data = self.flows(Locations(allowed, ["127.0.0.1"]))
        self.wire: Any = Loopback(reactor, self.mount)
        self.who = Who("", "", "", "", frozenset())

    def flows(self, locations: Locations) -> ImageData:
        """The flows over our store."""
        fetcher = Fetcher(self.reactor, locations)
        return ImageData(self.database, self.store, self.section, self.signer, locations, fetcher)

    def mount(self, frame: Frame) -> None:
        """Add the endpoints."""
        data = Data(self.clock, self.data)
        mount(frame, self.database, data)
        vmapi.mount(frame, MemorySecretStore(self.reactor), data.fetch)

    async def image(self, who: Who | None = None, **columns: Any) -> str:
        """A queued image."""
        who = who or self.who
        wanted = {
            "project_id": who.project_id, "name": "image", "status": "queued",
            "disk_format": "raw", "container_format": "bare", **columns,
        }  # fmt: skip
        found: str = await self.database.value(
            f"insert into image ({', '.join(wanted)}) values"
            f" ({', '.join(['%s'] * len(wanted))}) returning uuid::text",
            tuple(wanted.values()),
        )
        return found

    async def send(
        self, uuid: str, body: bytes = DATA, who: Who | None = None, **headers: str
    ) -> Answer:
        """Send data."""
        said = {"Content-Type": "application/octet-stream", **headers}
        answer: Answer = await self.wire.ask(
            f"{BASE}/{uuid}/file", who or self.who, method="PUT", body=body, headers=said
        )
        return answer

    async def get(self, uuid: str, who: Who | None = None, **headers: str) -> Answer:
        """Read data."""
        answer: Answer = await self.wire.ask(
            f"{BASE}/{uuid}/file", who or self.who, headers=headers
        )
        return answer

    async def row(self, uuid: str) -> Any:
        """What is known of an image."""
        return await self.database.first("select * from image where uuid = %s", (uuid,))

    async def until(self, holds: Any) -> None:
        """Wait for something to hold."""
        end = self.reactor.seconds() + PATIENCE_SECONDS
        while not await holds():
            assert self.reactor.seconds() < end
            await deferLater(self.reactor, 0.01)

    async def waits_again(self, uuid: str) -> None:
        """The image takes data again, and nothing of the last try is left."""

        async def queued() -> bool:
            return (await self.row(uuid)).status == "queued" and not self.data.active

        await self.until(queued)
        row = await self.row(uuid)
        assert (row.object_name, row.upload_name, row.upload_bytes, row.md5) == (None,) * 4
        assert await self.store.kept() == []

    def loop(self) -> ImagesLoop:
        """The loop, to be turned by hand."""
        return ImagesLoop(
            self.reactor, self.database, self.store, self.data.active, 60.0, 60.0, 0.0,
            random.Random(0),
        )  # fmt: skip


@pytest_twisted.async_yield_fixture
async def ground(database: Any) -> Any:
    """The service, and a site elsewhere."""
    from twisted.internet import reactor

    site = Elsewhere()
    port = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(Site(site))
    made = Ground(reactor, database, port, site)
    made.who = await a_member(database)
    yield made
    await made.data.close()
    await made.wire.close()
    await port.stopListening()


async def test_data_that_were_sent_are_read(ground: Ground) -> None:
    """With their checksums; the image is active then."""
    uuid = await ground.image()
    assert (await ground.send(uuid)).status == 204
    shown = (await ground.wire.ask(f"{BASE}/{uuid}", ground.who)).json
    assert (shown["status"], shown["size"]) == ("active", len(DATA))
    assert shown["checksum"] == hashlib.md5(DATA).hexdigest()
    assert shown["os_hash_algo"] == "sha512"
    assert shown["os_hash_value"] == hashlib.sha512(DATA).hexdigest()
    answer = await ground.get(uuid)
    assert (answer.status, answer.body) == (200, DATA)
    assert answer.headers["content-md5"] == shown["checksum"]
    assert answer.headers["content-length"] == str(len(DATA))
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["etag"] == f'"{shown["checksum"]}"'
    head = await ground.wire.ask(f"{BASE}/{uuid}/file", ground.who, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(DATA))
    assert (await ground.row(uuid)).location == OURS + uuid
    assert not ground.data.active


async def test_data_may_come_in_chunks(ground: Ground) -> None:
    """Without a length."""
    uuid = await ground.image()
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (DATA[:9], DATA[9:]))
    client = await a_client(ground, uuid, "Transfer-Encoding: chunked", chunks + b"0\r\n\r\n")
    await client.until(b" 204 ")
    client.transport.loseConnection()
    assert (await ground.get(uuid)).body == DATA


async def test_an_image_without_data_here_has_none_to_read(ground: Ground) -> None:
    """One that waits for them, and one that lies where the clusters reach it."""
    uuid = await ground.image()
    assert (await ground.get(uuid)).status == 204
    theirs = await Images(ground.database).register(None, name="x", location="/srv/x")
    assert (await ground.get(theirs.uuid)).status == 204


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("0-0", 0, 0), ("5-9", 5, 9), ("1023990-", 1_023_990, 1_023_999),
     ("-10", 1_023_990, 1_023_999), ("1023999-99999999", 1_023_999, 1_023_999),
     ("-99999999", 0, 1_023_999)],
)  # fmt: skip
async def test_a_part_of_it(ground: Ground, asked: str, first: int, last: int) -> None:
    """Of any length, from either end."""
    uuid = await ground.image()
    await ground.send(uuid)
    answer = await ground.get(uuid, Range=f"bytes={asked}")
    assert answer.status == 206
    assert answer.body == DATA[first : last + 1]
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(DATA)}"
    assert "content-md5" not in answer.headers


async def test_ranges_that_are_none(ground: Ground) -> None:
    """Outside: 416; what is not understood, or is of another image: everything."""
    uuid = await ground.image()
    await ground.send(uuid)
    for outside in (f"{len(DATA)}-", "99999999-999999999", "-0"):
        answer = await ground.get(uuid, Range=f"bytes={outside}")
        assert (answer.status, answer.headers["content-range"]) == (416, f"bytes */{len(DATA)}")
    for strange in ("bytes=9-5", "bytes=-", "bytes=0-1,5-6", "lines=1-2", "bytes=a-b"):
        answer = await ground.get(uuid, Range=strange)
        assert (answer.status, len(answer.body)) == (200, len(DATA))
    other = await ground.get(uuid, **{"Range": "bytes=0-1", "If-Range": '"other"'})
    assert other.status == 200
    etag = f'"{hashlib.md5(DATA).hexdigest()}"'
    same = await ground.get(uuid, **{"Range": "bytes=0-1", "If-Range": etag})
    assert same.status == 206


async def test_an_empty_image(ground: Ground) -> None:
    """Has data: none."""
    uuid = await ground.image()
    assert (await ground.send(uuid, b"")).status == 204
    answer = await ground.get(uuid)
    assert (answer.status, answer.headers["content-length"]) == (200, "0")
    assert (await ground.get(uuid, Range="bytes=0-")).status == 416


async def test_only_a_queued_image_takes_data(ground: Ground) -> None:
    """What it has stays."""
    uuid = await ground.image()
    await ground.send(uuid)
    assert (await ground.send(uuid, b"other")).status == 409
    assert (await ground.get(uuid)).body == DATA
    for status in ("saving", "importing", "deactivated"):
        other = await ground.image(status=status)
        assert (await ground.send(other)).status == 409
    unformed = await ground.image(disk_format=None)
    assert (await ground.send(unformed)).status == 400
    assert len(await ground.store.kept()) == 1


async def test_nobody_else_sends_data(ground: Ground) -> None:
    """403 to who sees the image, 404 to who does not, 401 without a token; nothing is kept."""
    other = await a_member(ground.database)
    reader = Who(other.user_id, "", ground.who.project_id, "", frozenset(["reader"]))
    for visibility, status in (("private", 404), ("shared", 404), ("public", 403),
                               ("community", 403)):  # fmt: skip
        uuid = await ground.image(visibility=visibility)
        assert (await ground.send(uuid, who=other)).status == status
        assert (await ground.send(uuid, who=reader)).status == 403
        refused = await ground.wire.ask(
            f"{BASE}/{uuid}/file", method="PUT", body=DATA,
            headers={"Content-Type": "application/octet-stream"},
        )  # fmt: skip
        assert refused.status == 401
        await ground.waits_again(uuid)
    for strange in ("..", "x", "%00", str(uuid4()), "a" * 5000):
        assert (await ground.send(strange)).status in (404, 400)


async def test_nobody_else_reads_private_data(ground: Ground) -> None:
    """404, as if there were no image; those with whom it is shared read it."""
    other = await a_member(ground.database)
    uuid = await ground.image(visibility="shared")
    await ground.send(uuid)
    assert (await ground.get(uuid, other)).status == 404
    await ground.database.run(
        "insert into image_member (image_id, project_id) select id, %s from image where uuid = %s",
        (other.project_id, uuid),
    )
    assert (await ground.get(uuid, other)).body == DATA


async def test_a_deactivated_image_is_not_read(ground: Ground) -> None:
    """But by administrators."""
    uuid = await ground.image()
    await ground.send(uuid)
    await ground.database.run("update image set status = 'deactivated' where uuid = %s", (uuid,))
    assert (await ground.get(uuid)).status == 403
    admin = await a_member(ground.database, "admin")
    assert (await ground.get(uuid, admin)).body == DATA


async def test_the_content_type_is_octets(ground: Ground) -> None:
    """Anything else is a mistake: 415, before the body is read."""
    uuid = await ground.image()
    for kind in ("application/json", "text/plain", ""):
        assert (await ground.send(uuid, **{"Content-Type": kind})).status == 415
    await ground.waits_again(uuid)


@pytest.mark.parametrize("written", ["hex", "base64"])
async def test_a_checksum_that_comes_along_is_compared(ground: Ground, written: str) -> None:
    """A wrong one leaves nothing, and the next try works."""

    def digest(data: bytes) -> str:
        raw = hashlib.md5(data)
        return raw.hexdigest() if written == "hex" else base64.b64encode(raw.digest()).decode()

    uuid = await ground.image()
    wrong = await ground.send(uuid, **{"Content-MD5": digest(b"other")})
    assert wrong.status == 400
    assert b"checksum" in wrong.body
    await ground.waits_again(uuid)
    assert (await ground.send(uuid, **{"Content-MD5": digest(DATA)})).status == 204


async def test_headers_that_mean_nothing(ground: Ground) -> None:
    """Are refused before the body is read."""
    uuid = await ground.image()
    for header in ({"Content-MD5": "x"}, {"Content-MD5": "\xff" * 24},
                   {"X-OpenStack-Image-Size": "x"}, {"X-OpenStack-Image-Size": "1"},
                   {"X-OpenStack-Image-Size": "9" * 30}):  # fmt: skip
        assert (await ground.send(uuid, **header)).status == 400
    await ground.waits_again(uuid)


async def test_what_is_too_large_is_refused_at_once(ground: Ground) -> None:
    """413, before any of it is read."""
    uuid = await ground.image()
    client = await a_client(ground, uuid, f"Content-Length: {GIB + 1}", b"abc")
    await client.until(b" 413 ")
    client.transport.loseConnection()
    await ground.waits_again(uuid)


async def test_the_images_of_a_project_take_so_much_together(ground: Ground) -> None:
    """Those that are coming count; what is given back can be had again."""
    await ground.image(status="active", object_name=uuid4().hex, size_bytes=2 * GIB - 1000)
    uuid, coming = await ground.image(), await ground.image()
    assert (await ground.send(uuid, b"a" * 1001)).status == 413
    client = await a_client(ground, coming, "Content-Length: 900", b"abc")
    await ground.until(lambda: saving(ground, coming))
    assert (await ground.send(uuid, b"a" * 200)).status == 413
    assert (await ground.send(uuid, b"a" * 100)).status == 204
    client.transport.abortConnection()
    await ground.until(lambda: queued(ground, coming))
    assert (await ground.send(coming, b"a" * 900)).status == 204
    third = await ground.image()
    assert (await ground.send(third, b"")).status == 413
    other = await a_member(ground.database)
    assert (await ground.send(await ground.image(other), b"abc", other)).status == 204


async def test_chunks_of_a_project_count_when_they_come(ground: Ground) -> None:
    """No length is known before; too much is refused all the same."""
    await ground.image(status="active", object_name=uuid4().hex, size_bytes=2 * GIB - 1000)
    uuid = await ground.image()
    client = await a_client(ground, uuid, "Transfer-Encoding: chunked", b"")
    await ground.until(lambda: saving(ground, uuid))
    client.transport.write(b"5dc\r\n" + b"a" * 1500 + b"\r\n0\r\n\r\n")
    await client.until(b" 413 ")
    client.transport.loseConnection()
    await ground.until(lambda: queued(ground, uuid))
    assert await ground.store.kept() == []


async def test_a_full_store_says_so(ground: Ground) -> None:
    """503 before the body is read, or in the middle of it; nothing of it is left."""
    uuid = await ground.image()
    ground.store.room_bytes = 100
    assert (await ground.send(uuid)).status == 503
    await ground.waits_again(uuid)
    client = await a_client(ground, uuid, "Transfer-Encoding: chunked", b"")
    client.transport.write(b"12c\r\n" + b"a" * 300 + b"\r\n0\r\n\r\n")
    await client.until(b" 503 ")
    client.transport.loseConnection()
    await ground.waits_again(uuid)
    assert "room" in (await ground.row(uuid)).upload_error
    ground.store.room_bytes = 2**40
    assert (await ground.send(uuid)).status == 204


async def test_an_upload_that_is_cut_leaves_nothing(ground: Ground) -> None:
    """And the next try works."""
    uuid = await ground.image()
    for head in (f"Content-Length: {len(DATA)}", "Transfer-Encoding: chunked"):
        body = b"5\r\nabcde\r\n" if "chunked" in head else DATA[:500_000]
        client = await a_client(ground, uuid, head, body)
        await ground.until(lambda: saving(ground, uuid))
        assert (await ground.send(uuid)).status == 409
        client.transport.abortConnection()
        await ground.waits_again(uuid)
    assert (await ground.send(uuid)).status == 204
    assert (await ground.get(uuid)).body == DATA


async def test_an_upload_that_is_too_slow_is_refused(ground: Ground) -> None:
    """408, the image takes data again, and the next try works."""
    uuid = await ground.image()
    client = await a_client(ground, uuid, "Content-Length: 100000", b"a" * 5)
    await ground.until(lambda: saving(ground, uuid))
    await ground.until(waited(ground.clock))
    ground.clock.advance(WINDOW_SECONDS)
    await client.until(b" 408 ")
    client.transport.loseConnection()
    await ground.waits_again(uuid)
    assert "too slowly" in (await ground.row(uuid)).upload_error
    client = await a_client(ground, uuid, f"Content-Length: {len(DATA)}", DATA[:300_000])
    await ground.until(lambda: saving(ground, uuid))
    await ground.until(waited(ground.clock))
    # Slow, but not too slow.
    ground.clock.advance(WINDOW_SECONDS - 1)
    client.transport.write(DATA[300_000:])
    await client.until(b" 204 ")
    client.transport.loseConnection()
    assert (await ground.get(uuid)).body == DATA


def waited(clock: Clock) -> Any:
    """Whether somebody waits for time to pass."""

    async def holds() -> bool:
        return bool(clock.getDelayedCalls())

    return holds


async def test_an_image_that_is_deleted_meanwhile_gets_no_data(ground: Ground) -> None:
    """410 when the data are there; earlier, once the loop has noticed."""
    uuid = await ground.image()
    client = await a_client(ground, uuid, "Content-Length: 10", b"abc")
    await ground.until(lambda: saving(ground, uuid))
    assert (await ground.wire.ask(f"{BASE}/{uuid}", ground.who, method="DELETE")).status == 204
    client.transport.write(b"defghij")
    await client.until(b" 410 ")
    client.transport.loseConnection()
    assert await ground.store.kept() == []
    row = await ground.row(uuid)
    assert (row.status, row.object_name, row.upload_name) == ("deleted", None, None)
    second = await ground.image()
    client = await a_client(ground, second, "Content-Length: 1000000", b"abc")
    await ground.until(lambda: saving(ground, second))
    await ground.wire.ask(f"{BASE}/{second}", ground.who, method="DELETE")
    await ground.loop().beat()
    client.transport.write(b"a" * 500_000)
    await client.until(b" 410 ")
    client.transport.loseConnection()
    assert await ground.store.kept() == []


async def test_the_loop_gives_up_what_nobody_sees(ground: Ground) -> None:
    """And removes what is left of it; uploads that live stay."""
    uuid, living = await ground.image(), await ground.image()
    name = uuid4().hex
    await (await ground.store.begin(name)).write(b"half")
    await ground.database.run(
        "update image set status = 'saving', upload_name = %s, upload_bytes = 100,"
        " upload_seen_at = now() - interval '61 seconds' where uuid = %s",
        (name, uuid),
    )
    orphan = await ground.store.begin(uuid4().hex)
    await orphan.write(b"of a process that was killed before its commit")
    await orphan.finish()
    client = await a_client(ground, living, "Content-Length: 10", b"abc")
    await ground.until(lambda: saving(ground, living))
    await ground.database.run(
        "update image set upload_seen_at = now() - interval '61 seconds' where uuid = %s",
        (living,),
    )
    loop = ground.loop()
    await loop.beat()
    await loop.sweep()
    row = await ground.row(uuid)
    assert (row.status, row.upload_name, row.upload_bytes) == ("queued", None, None)
    assert row.upload_error
    assert [each.name for each in await ground.store.kept()] == list(ground.data.active)
    client.transport.write(b"defghij")
    await client.until(b" 204 ")
    client.transport.loseConnection()
    await loop.sweep()
    assert (await ground.get(living)).body == b"abcdefghij"


async def test_a_deleted_images_data_go_when_nobody_needs_them(ground: Ground) -> None:
    """A server that is still being made from it does."""
    uuid = await ground.image()
    await ground.send(uuid)
    row = await ground.row(uuid)
    flavor = await builders.a_flavor(ground.database)
    cluster = await builders.a_cluster(ground.database)
    server = await builders.a_server(ground.database, ground.who, flavor, image=row)
    operation = await builders.an_operation(ground.database, server, cluster, "create")
    assert (await ground.wire.ask(f"{BASE}/{uuid}", ground.who, method="DELETE")).status == 204
    signed = ground.signer.url(uuid).removeprefix("http://cloud.example")
    await ground.loop().sweep()
    assert (await ground.get(uuid)).status == 404
    assert (await ground.wire.ask(signed)).body == DATA
    await ground.database.run(
        "update operation set state = 'failed', finished_at = now() where id = %s", (operation,)
    )
    await ground.loop().sweep()
    assert await ground.store.kept() == []
    assert (await ground.row(uuid)).object_name is None
    assert (await ground.wire.ask(signed)).status == 404


async def test_a_signed_url_is_for_one_image_and_some_time(ground: Ground) -> None:
    """Without a token, and for nothing else: always the same 404."""
    uuid, other, queued_one = await ground.image(), await ground.image(), await ground.image()
    await ground.send(uuid)
    await ground.send(other, b"other data")
    path = ground.signer.url(uuid).removeprefix("http://cloud.example")
    answer = await ground.wire.ask(path)
    assert (answer.status, answer.body) == (200, DATA)
    assert (await ground.wire.ask(path, headers={"Range": "bytes=1-3"})).body == DATA[1:4]
    head = await ground.wire.ask(path, method="HEAD")
    assert (head.status, head.headers["content-length"]) == (200, str(len(DATA)))
    parts = path.split("/")
    wrong = [path.replace(uuid, other), path.replace(uuid, queued_one), path[:-1],
             "/".join([*parts[:-2], str(int(parts[-2]) + 1000), parts[-1]]),
             "/".join([*parts[:-1], "A" * 43]),
             ground.signer.url(queued_one).removeprefix("http://cloud.example"),
             ground.signer.url("../../owner").removeprefix("http://cloud.example")]  # fmt: skip
    answers = [await ground.wire.ask(each) for each in wrong]
    assert {each.status for each in answers} == {404}
    ground.seconds_ahead = 601.0
    late = await ground.wire.ask(path)
    assert late.status == 404
    assert late.body == answers[0].body
    assert (await ground.wire.ask(path, method="PUT", body=b"x")).status == 405


async def test_data_that_are_missing_are_told_of(ground: Ground, logged_errors: Any) -> None:
    """To the client as a fault of ours, to the operator in the log."""
    uuid = await ground.image()
    await ground.send(uuid)
    await ground.store.remove((await ground.row(uuid)).object_name)
    assert (await ground.get(uuid)).status == 503
    formats = [each["log_format"] for each in logged_errors.events]
    assert formats == ["image.object_missing"]
    logged_errors.events.clear()


async def test_only_so_many_are_sent_at_once(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are told to come again, and their images still wait."""
    monkeypatch.setattr(image_data, "MOST_AT_ONCE", 1)
    first, second = await ground.image(), await ground.image()
    client = await a_client(ground, first, "Content-Length: 3", b"a")
    await ground.until(lambda: saving(ground, first))
    answer = await ground.send(second)
    assert (answer.status, answer.headers["retry-after"]) == (503, "30")
    assert (await ground.row(second)).status == "queued"
    client.transport.write(b"bc")
    await client.until(b" 204 ")
    client.transport.loseConnection()
    assert (await ground.send(second)).status == 204


async def test_those_that_begin_at_the_same_moment_count_too(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the database takes: of five two are taken, and their places are free again."""
    monkeypatch.setattr(image_data, "MOST_AT_ONCE", 2)
    images = [await ground.image() for _ in range(5)]
    begun = [ensureDeferred(ground.data.begin(ground.who, uuid, 3)) for uuid in images]
    results = await DeferredList(begun, consumeErrors=True)
    uploads = [result for good, result in results if good]
    assert (len(uploads), len(ground.data.active)) == (2, 2)
    assert all(result.check(Unavailable) for good, result in results if not good)
    for upload in uploads:
        await upload.fail(Unavailable("not today"))
    for uuid in images[:2]:
        assert (await ground.send(uuid)).status == 204


async def test_without_a_store_nothing_is_taken(ground: Ground) -> None:
    """The operator has named none: 501."""
    uuid = await ground.image()
    ground.data.store = None
    assert (await ground.send(uuid)).status == 501
    assert (await ground.row(uuid)).status == "queued"


# -- from elsewhere ------------------------------------------------------------------------


async def imported(ground: Ground, uuid: str, url: str, who: Who | None = None) -> Answer:
    """Ask for an import."""
    body = b'{"method": {"name": "web-download", "uri": "%b"}}' % url.encode()
    answer: Answer = await ground.wire.ask(
        f"{BASE}/{uuid}/import", who or ground.who, method="POST", body=body,
        headers={"Content-Type": "application/json"},
    )  # fmt: skip
    return answer


async def test_an_image_is_fetched_from_where_the_operator_allows(ground: Ground) -> None:
    """In the background, with the checksums of what came."""
    uuid = await ground.image()
    ways = (await ground.wire.ask("/image/v2/info/import", ground.who)).json
    assert ways["import-methods"]["value"] == ["glance-direct", "web-download"]
    assert (await imported(ground, uuid, f"http://127.0.0.1:{ground.number}/ok/data")).status == 202

    async def active() -> bool:
        return (await ground.row(uuid)).status == "active"

    await ground.until(active)
    assert (await ground.row(uuid)).md5 == hashlib.md5(DATA).hexdigest()
    assert (await ground.get(uuid)).body == DATA


@pytest.mark.parametrize("path", ["around", "away", "inside", "cut", "missing"])
async def test_what_cannot_be_fetched_leaves_nothing(ground: Ground, path: str) -> None:
    """Redirects without an end, to what is not allowed or private; data that end too early."""
    uuid = await ground.image()
    url = f"http://127.0.0.1:{ground.number}/ok/{path}"
    assert (await imported(ground, uuid, url)).status == 202
    await ground.waits_again(uuid)
    assert (await ground.row(uuid)).upload_error
    assert b"/elsewhere" not in ground.site.asked
    assert (await ground.send(uuid)).status == 204


async def test_an_import_is_refused_like_an_upload(ground: Ground) -> None:
    """By the list, the state, the owner and the shape of the body."""
    uuid = await ground.image()
    good = f"http://127.0.0.1:{ground.number}/ok/data"
    other = await a_member(ground.database)
    assert (await imported(ground, uuid, good.replace("/ok/", "/no/"))).status == 403
    assert (await imported(ground, uuid, "http://169.254.169.254/latest")).status == 403
    assert (await imported(ground, uuid, "file:///etc/passwd")).status == 403
    assert (await imported(ground, uuid, "nonsense")).status == 403
    assert (await imported(ground, uuid, "pithos://account/images/x")).status == 400
    assert (await imported(ground, uuid, "")).status == 400
    assert (await imported(ground, uuid, good, other)).status == 404
    for body in (b"", b"[]", b'{"method": {"name": "copy-image"}}', b'{"method": {}}',
                 b'{"method": {"name": "web-download"}, "more": 1}'):  # fmt: skip
        answer = await ground.wire.ask(
            f"{BASE}/{uuid}/import", ground.who, method="POST", body=body
        )
        assert answer.status == 400, body
    await ground.waits_again(uuid)
    await ground.send(uuid)
    assert (await imported(ground, uuid, good)).status == 409
    assert ground.site.asked == []


async def stage(ground: Ground, uuid: str, body: bytes = DATA, who: Who | None = None) -> Answer:
    """Send data that wait for an import."""
    answer: Answer = await ground.wire.ask(
        f"{BASE}/{uuid}/stage", who or ground.who, method="PUT", body=body,
        headers={"Content-Type": "application/octet-stream"},
    )  # fmt: skip
    return answer


async def direct(ground: Ground, uuid: str, who: Who | None = None) -> Answer:
    """Ask for the import of what was staged."""
    body = b'{"method": {"name": "glance-direct"}, "all_stores": true, "stores": []}'
    answer: Answer = await ground.wire.ask(
        f"{BASE}/{uuid}/import", who or ground.who, method="POST", body=body
    )
    return answer


async def test_staged_data_wait_for_their_import(ground: Ground) -> None:
    """Nobody reads them before it, and other data are refused."""
    uuid, other = await ground.image(), await a_member(ground.database)
    assert (await direct(ground, uuid)).status == 409
    assert (await stage(ground, uuid, who=other)).status == 404
    assert (await stage(ground, uuid)).status == 204
    assert (await ground.row(uuid)).status == "uploading"
    assert (await ground.get(uuid)).status == 204
    signed = ground.signer.url(uuid).removeprefix("http://cloud.example")
    assert (await ground.wire.ask(signed)).status == 404
    assert (await ground.send(uuid)).status == 409
    assert (await stage(ground, uuid)).status == 409
    assert (await direct(ground, uuid, other)).status == 404
    await ground.loop().sweep()
    assert (await direct(ground, uuid)).status == 202
    assert (await ground.row(uuid)).status == "active"
    assert (await ground.get(uuid)).body == DATA
    assert (await direct(ground, uuid)).status == 409


async def test_a_staging_that_is_cut_leaves_nothing(ground: Ground) -> None:
    """As with any upload; and what is staged goes with its image."""
    uuid = await ground.image()
    client = await a_client(ground, uuid, "Content-Length: 9999", b"abc", "stage")

    async def uploading() -> bool:
        return (await ground.row(uuid)).status == "uploading"

    await ground.until(uploading)
    assert (await direct(ground, uuid)).status == 409
    client.transport.abortConnection()
    await ground.waits_again(uuid)
    assert (await stage(ground, uuid)).status == 204
    assert (await ground.wire.ask(f"{BASE}/{uuid}", ground.who, method="DELETE")).status == 204
    await ground.loop().sweep()
    assert await ground.store.kept() == []


# -- a client that sends what it is told -----------------------------------------------------


class Client(Protocol):
    """Keeps what comes."""

    transport: Any

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._waiting: list[tuple[bytes, Deferred[None]]] = []
        self.received = b""

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.received += data
        for wanted, found in list(self._waiting):
            if wanted in self.received:
                self._waiting.remove((wanted, found))
                found.callback(None)

    def until(self, wanted: bytes) -> Deferred[None]:
        """Wait for some bytes."""
        found: Deferred[None] = Deferred()
        if wanted in self.received:
            found.callback(None)
        else:
            self._waiting.append((wanted, found))
            found.addTimeout(PATIENCE_SECONDS, self._reactor)
        return found


async def a_client(ground: Ground, uuid: str, head: str, body: bytes, end: str = "file") -> Client:
    """A client that has sent a part of an upload."""
    token = ground.wire.identity.add(ground.who)
    point = TCP4ClientEndpoint(ground.reactor, "127.0.0.1", ground.wire.number)
    client: Client = await connectProtocol(point, Client(ground.reactor))
    lines = [f"PUT {BASE}/{uuid}/{end} HTTP/1.1", "Host: x", f"X-Auth-Token: {token}",
             "Content-Type: application/octet-stream", head, "", ""]  # fmt: skip
    client.transport.write("\r\n".join(lines).encode() + body)
    return client


async def saving(ground: Ground, uuid: str) -> bool:
    """Whether data are coming."""
    names = {each.image.uuid for each in ground.data.active.values()}
    return (await ground.row(uuid)).status == "saving" and uuid in names


async def queued(ground: Ground, uuid: str) -> bool:
    """Whether data are waited for."""
    return (await ground.row(uuid)).status == "queued"
