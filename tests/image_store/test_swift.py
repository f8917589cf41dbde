"""An Object Storage as the store of images: the contract, and what happens when it fails."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet.ssl import PrivateCertificate

from cyclades_tx.errors import ConfigError, Unavailable
from cyclades_tx.image_store.interfaces import NoObject, StoreFull
from cyclades_tx.image_store.object_login import Login, guarded
from cyclades_tx.image_store.object_wire import ObjectWire
from cyclades_tx.image_store.swift import SwiftImageStore
from cyclades_tx.image_store.threads import Threads
from cyclades_tx.testing.expected import raised
from cyclades_tx.testing.image_store_contract import (
    DATA,
    IDENTITY,
    ImageStoreContract,
    a_name,
    names,
    written,
)
from tests.image_store.memory_swift import SECRET, MemorySwift

#: So that a megabyte has many segments.
SEGMENT_BYTES = 100_000


def login(swift: MemorySwift, **changed: str) -> Login:
    """Who we are."""
    said = {
        "auth_url": swift.url + "/v3", "secret": SECRET, "username": "cloud", "project": "images",
    }  # fmt: skip
    return Login(**{**said, **changed})


def a_store(
    swift: MemorySwift,
    segment_bytes: int = SEGMENT_BYTES,
    timeout: float = 30.0,
    authorities: str = "",
    **changed: str,
) -> SwiftImageStore:
    """A store that was not prepared."""
    from twisted.internet import reactor

    wire = ObjectWire(reactor, login(swift, **changed), timeout, authorities)
    return SwiftImageStore(wire, "images", segment_bytes, Threads(reactor, 2))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said again is said soon."""
    monkeypatch.setattr("cyclades_tx.image_store.object_wire._PAUSES_SECONDS", (0.01, 0.02))


@pytest_twisted.async_yield_fixture
async def swift() -> Any:
    """An Object Storage."""
    from twisted.internet import reactor

    made = MemorySwift()
    made.listen(reactor)
    yield made
    await made.close()


@pytest_twisted.async_yield_fixture
async def store(swift: Any) -> Any:
    """A store in it."""
    made = a_store(swift)
    await made.prepare(IDENTITY)
    yield made
    made.close()


class TestSwift(ImageStoreContract):
    """The store in an Object Storage, in many segments."""


class TestOneSegment(ImageStoreContract):
    """As images are as a rule: smaller than a segment."""

    @pytest_twisted.async_yield_fixture
    async def store(self, swift: Any) -> Any:
        """With large segments."""
        made = a_store(swift, 2**28)
        await made.prepare(IDENTITY)
        yield made
        made.close()


async def test_where_things_lie(swift: Any, store: Any) -> None:
    """Segments of one size with a manifest; a mark as long as it is written."""
    name = a_name()
    upload = await store.begin(name)
    assert swift.paths() == [f"incoming/{name}", "owner"]
    for first in range(0, 250_000, 50_000):
        await upload.write(DATA[first : first + 50_000])
    await upload.finish()
    segments = [f"segments/{name}/{number:06}" for number in range(3)]
    assert swift.paths() == sorted([f"objects/{name}", "owner", *segments])
    held = swift.containers["images"]
    assert [len(held[each].data) for each in segments] == [100_000, 100_000, 50_000]
    assert [each["path"] for each in held[f"objects/{name}"].manifest] == [
        "/images/" + each for each in segments
    ]
    assert await store.remove(name)
    assert swift.paths() == ["owner"]


async def test_reading_on_asks_once_for_each_segment(swift: Any, store: Any) -> None:
    """Reading elsewhere asks again, from there."""
    name = a_name()
    await written(store, name, DATA[:250_000])
    reader = await store.open(name)
    del swift.asked[:]
    parts = [await reader.read(place, 10_000) for place in range(0, 250_000, 10_000)]
    assert b"".join(parts) == DATA[:250_000]
    assert len(swift.asked) == 3
    assert await reader.read(90_000, 20_000) == DATA[90_000:110_000]
    assert await reader.read(7, 5) == DATA[7:12]
    await reader.close()


async def test_a_token_that_ends_is_renewed(swift: Any, store: Any) -> None:
    """When its time comes, or when it is refused; nobody notices."""
    name = a_name()
    assert swift.logins == 1
    await written(store, name, DATA)
    assert swift.logins == 1
    swift.tokens.clear()
    assert await names(store) == [(name, True)]
    assert swift.logins == 2
    swift.tokens.clear()
    reader = await store.open(name)
    swift.tokens.clear()
    assert await reader.read(0, 1000) == DATA[:1000]
    await reader.close()
    assert swift.logins == 4


async def test_a_short_token_is_used_while_it_is_good(swift: Any) -> None:
    """An ended one never is."""
    swift.token_seconds = -1.0
    store = a_store(swift)
    await store.prepare(IDENTITY)
    before = swift.logins
    await store.kept()
    assert swift.logins > before
    store.close()


async def test_an_application_credential_is_enough(swift: Any) -> None:
    """It brings its project along."""
    store = a_store(swift, application_credential_id="f00", username="", project="")
    await store.prepare(IDENTITY)
    assert swift.bodies == [
        {
            "identity": {
                "methods": ["application_credential"],
                "application_credential": {"id": "f00", "secret": SECRET},
            }
        }
    ]
    assert SECRET not in repr(login(swift)) + repr(await store.wire.log_in())
    store.close()


async def test_who_is_not_let_in_is_told_at_the_start(swift: Any) -> None:
    """Later it is a store that does not answer: the operator finds why in the log."""
    for wrong in ({"secret": "another"}, {"region": "two"}, {"interface": "internal"}):
        store = a_store(swift, **wrong)
        error = await raised(ConfigError, store.prepare(IDENTITY))
        assert "another" not in error.message
        store.close()
    swift.account_url = "http://192.0.2.1/v1/AUTH_x"
    store = a_store(swift)
    error = await raised(ConfigError, store.prepare(IDENTITY))
    assert "https" in error.message
    await raised(Unavailable, store.begin(a_name()))
    store.close()


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://swift.example.org/v1", True),
        ("http://127.0.0.1:8080", True),
        ("http://[::1]:8080", True),
        ("http://localhost/v3", True),
        ("http://swift.example.org/v1", False),
        ("http://127.0.0.1.example.org/", False),
        ("ftp://127.0.0.1/", False),
        ("https://", False),
        ("http://[", False),
        ("", False),
    ],
)
def test_secrets_go_over_tls(url: str, good: bool) -> None:
    """But on this machine."""
    assert guarded(url) is good


def certificate() -> tuple[bytes, str]:
    """A key with a certificate for this machine, signed by itself, and the certificate alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "swift")])
    now = datetime.now(UTC)
    place = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(place, False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    shown = made.public_bytes(Encoding.PEM)
    return private + shown, shown.decode()


async def test_a_certificate_is_verified() -> None:
    """By the authorities that the operator names; to anybody else nothing is said."""
    from twisted.internet import reactor

    pem, shown = certificate()
    swift = MemorySwift()
    swift.listen(reactor, PrivateCertificate.loadPEM(pem).options())
    store = a_store(swift, authorities=shown)
    await store.prepare(IDENTITY)
    name = a_name()
    await written(store, name, DATA)
    reader = await store.open(name)
    assert await reader.read(0, 2**21) == DATA
    await reader.close()
    store.close()
    said = len(swift.asked)
    for wrong in ("", certificate()[1]):
        other = a_store(swift, authorities=wrong)
        await raised(Unavailable, other.wire.log_in())
        other.close()
    assert len(swift.asked) == said
    await raised(ConfigError, no_authorities(swift))
    await swift.close()


async def no_authorities(swift: MemorySwift) -> None:
    """Name a file without any."""
    a_store(swift, authorities="-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")


async def test_a_storage_that_comes_late_is_used_then(swift: Any) -> None:
    """The service begins without it, and refuses data until it is there."""
    swift.fail("GET", "/owner", 503, 6)
    store = a_store(swift)
    await store.prepare(IDENTITY)
    await raised(Unavailable, store.begin(a_name()))
    name = a_name()
    await written(store, name, b"x")
    assert await names(store) == [(name, True)]
    store.close()


async def test_a_storage_that_comes_late_may_be_anothers(swift: Any) -> None:
    """Then nothing is written there."""
    first = a_store(swift)
    await first.prepare("another database")
    first.close()
    swift.fail("GET", "/owner", 503, 3)
    store = a_store(swift)
    await store.prepare(IDENTITY)
    await raised(Unavailable, store.begin(a_name()))
    await raised(Unavailable, store.kept())
    assert swift.paths() == ["owner"]
    store.close()


async def test_what_fails_for_a_moment_is_asked_again(swift: Any, store: Any) -> None:
    """Lists, manifests and removals; what streams or must be new is not."""
    name = a_name()
    swift.fail("PUT", "/objects/", 503, 2)
    await written(store, name, DATA)
    swift.fail("GET", "/images", 500)
    assert await names(store) == [(name, True)]
    swift.fail("PUT", "/incoming/", 503)
    await raised(Unavailable, store.begin(a_name()))
    swift.fail("DELETE", "/segments/", 503, 2)
    assert await store.remove(name)
    assert swift.paths() == ["owner"]


@pytest.mark.parametrize(
    ("status", "kind"), [(503, Unavailable), (507, StoreFull), (413, StoreFull), (401, Unavailable)]
)
async def test_a_segment_that_is_refused_ends_the_upload(
    swift: Any, store: Any, status: int, kind: type[Unavailable]
) -> None:
    """Nothing of it is left, and the next try works."""
    swift.fail("PUT", "/segments/", status)
    upload = await store.begin(a_name())
    error = await raised(kind, written_to(upload))
    assert type(error) is kind
    assert "127.0.0.1" not in error.message
    await upload.cancel()
    assert swift.paths() == ["owner"]
    name = a_name()
    assert (await written(store, name, DATA)).md5 == hashlib.md5(DATA).hexdigest()


async def written_to(upload: Any) -> None:
    """Write everything."""
    await upload.write(DATA)
    await upload.finish()


async def test_a_storage_that_hangs_is_not_waited_for(swift: Any, store: Any) -> None:
    """A segment, a manifest, a read and a login have an end."""

    async def hurried(call: Any) -> None:
        store.wire._timeout_seconds = 0.2
        try:
            await raised(Unavailable, call)
        finally:
            store.wire._timeout_seconds = 30.0

    name = a_name()
    await written(store, name, DATA)
    swift.fail("PUT", "/segments/", "hang")
    upload = await store.begin(a_name())
    await hurried(written_to(upload))
    await upload.cancel()
    reader = await store.open(name)
    swift.fail("GET", f"/segments/{name}/000000", "hang", 9)
    await hurried(reader.read(0, 10))
    await reader.close()
    swift.fail("HEAD", "/objects/", "hang", 3)
    await hurried(store.begin(a_name()))
    swift.tokens.clear()
    swift.fail("POST", "/auth/tokens", "hang", 3)
    await hurried(store.open(name))
    swift.faults.clear()
    assert await names(store) == [(name, True)]


async def test_a_read_that_is_cut_goes_on(swift: Any, store: Any) -> None:
    """From where it was; what is gone is gone."""
    name = a_name()
    await written(store, name, DATA)
    reader = await store.open(name)
    swift.fail("GET", f"/segments/{name}/000001", "cut", 2)
    assert await reader.read(0, 2**21) == DATA
    del swift.containers["images"][f"segments/{name}/000002"]
    await raised(Unavailable, reader.read(200_000, 10))
    await reader.close()


async def test_what_does_not_fit_a_quota_is_refused_before_it_comes(swift: Any, store: Any) -> None:
    """The container's, as the Object Storage's operator has set it."""
    await written(store, a_name(), DATA)
    swift.quota_bytes = len(DATA) + 1000
    await raised(StoreFull, store.begin(a_name(), 1001))
    upload = await store.begin(a_name(), 900)
    await upload.cancel()
    await raised(StoreFull, store.begin(a_name(), 1000 * SEGMENT_BYTES + 1))


async def test_what_a_killed_process_left_is_found(swift: Any, store: Any) -> None:
    """Segments without a mark too, and what is nobody's stays."""
    alone, marked, whole = sorted([a_name(), a_name(), a_name()])
    held = swift.containers["images"]
    await written(store, whole, DATA)
    held[f"segments/{alone}/000000"] = held[f"segments/{whole}/000000"]
    held[f"incoming/{marked}"] = held["owner"]
    held["objects/of somebody else"] = held["owner"]
    held["segments/x"] = held["owner"]
    assert await names(store) == [(alone, False), (marked, False), (whole, True)]
    assert await store.remove(alone)
    assert await store.remove(marked)
    assert await names(store) == [(whole, True)]
    assert "objects/of somebody else" in swift.paths()


async def test_many_objects_are_listed_page_by_page(
    swift: Any, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None twice, none left out."""
    monkeypatch.setattr("cyclades_tx.image_store.swift._PAGE", 3)
    made = sorted([a_name() for _ in range(7)])
    for name in made:
        await written(store, name, b"x")
    assert await names(store) == [(name, True) for name in made]


async def test_a_removed_object_goes_when_it_was_read(swift: Any, store: Any) -> None:
    """Meanwhile nobody opens it, lists it or removes it again."""
    name = a_name()
    await written(store, name, DATA)
    first, second = await store.open(name), await store.open(name)
    assert await store.remove(name)
    assert await names(store) == []
    await raised(NoObject, store.open(name))
    await first.close()
    await first.close()
    assert await second.read(0, 2**21) == DATA
    await second.close()
    assert swift.paths() == ["owner"]


async def test_a_cancelled_upload_cuts_its_request(swift: Any, store: Any) -> None:
    """So that the other side keeps nothing of what has no end."""
    upload = await store.begin(a_name())
    await upload.write(DATA[:50_000])
    await upload.cancel()
    assert swift.paths() == ["owner"]
    await raised(Unavailable, upload.finish())
    assert swift.paths() == ["owner"]


async def test_an_answer_that_means_nothing_is_no_answer(swift: Any, store: Any) -> None:
    """Half a manifest, a list that is none."""
    name = a_name()
    await written(store, name, DATA)
    held = swift.containers["images"]
    for text in (b"{", b'[{"name": 1}]', b'["x"]', json.dumps([{"bytes": "x"}]).encode()):
        held[f"objects/{name}"].manifest = None
        held[f"objects/{name}"].data = text
        await raised(Unavailable, store.open(name))


async def test_another_checksum_than_ours_is_refused(
    swift: Any, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The segment is not what was sent."""
    upload = await store.begin(a_name())
    await upload.write(DATA[:10])
    monkeypatch.setattr("tests.image_store.memory_swift.Held.md5", property(lambda self: "0" * 32))
    await raised(Unavailable, upload.finish())
    monkeypatch.undo()
    await upload.cancel()
    assert swift.paths() == ["owner"]
