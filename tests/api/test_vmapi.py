"""The URL of a first boot: its document is given out once."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock

from cyclades_tx.api import vmapi
from cyclades_tx.errors import Unavailable
from cyclades_tx.testing.loopback import Loopback
from cyclades_tx.vault import FILES, MemorySecretStore, arm, params_name

URL = "/vmapi/v1.0/server-params/"


class Door:
    """The endpoint on a socket, and what is behind it."""

    def __init__(self, reactor: Any) -> None:
        self.clock = Clock()
        self.vault = MemorySecretStore(self.clock)
        self.wire = Loopback(reactor, lambda frame: vmapi.mount(frame, self.vault))


@pytest_twisted.async_yield_fixture
async def door() -> Any:
    """A door that listens."""
    from twisted.internet import reactor

    made = Door(reactor)
    await made.vault.put("token", b'{"img_passwd": "x"}', 60)
    yield made
    await made.wire.close()


async def test_the_document_is_given_once_and_kept_by_nobody(door: Door) -> None:
    """Neither by us nor by a proxy on the way."""
    first = await door.wire.ask(URL + "token")
    assert (first.status, first.body) == (200, b'{"img_passwd": "x"}')
    assert first.headers["cache-control"] == "no-store"
    assert first.headers["content-type"] == "application/json"
    second = await door.wire.ask(URL + "token")
    assert second.status == 404
    assert second.json["itemNotFound"]["code"] == 404


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
async def test_only_a_get_spends_it(door: Door, method: str) -> None:
    """A HEAD would spend it without giving it."""
    assert (await door.wire.ask(URL + "token", method=method)).status in (404, 405)
    assert (await door.wire.ask(URL + "token")).status == 200


@pytest.mark.parametrize("text", ["x", "token2", "%00", "token%00", "x" * 129, "%C3%BC", "tok/en"])
async def test_unknown_tokens_are_404(door: Door, text: str) -> None:
    """All alike."""
    answer = await door.wire.ask(URL + text)
    assert answer.status == 404
    assert set(answer.json) == {"itemNotFound"}
    assert (await door.wire.ask(URL + "token")).status == 200


async def test_an_expired_secret_is_404(door: Door) -> None:
    """As if it had never been."""
    door.clock.advance(61)
    assert (await door.wire.ask(URL + "token")).status == 404


async def test_a_token_does_not_come_into_the_log(door: Door) -> None:
    """Neither where it opens something nor where it does not."""
    from twisted.logger import globalLogPublisher

    events: list[Any] = []
    globalLogPublisher.addObserver(events.append)
    try:
        await door.wire.ask(URL + "token")
        await door.wire.ask(URL + "token", method="HEAD")
    finally:
        globalLogPublisher.removeObserver(events.append)
    lines = [event for event in events if event.get("log_format") == "request.done"]
    assert lines
    assert not [event for event in lines if "server-params/token" in str(event)]


# The machine itself asks: cloud-init's files

NOCLOUD = "/vmapi/v1.0/nocloud/"
TOKEN = "k" * 43
CONTENTS = {name: b"content of " + name.encode() for name in FILES}


@pytest_twisted.async_yield_fixture
async def seed() -> Any:
    """A door with the secrets of one first boot."""
    from twisted.internet import reactor

    made = Door(reactor)
    await arm(made.vault, TOKEN, b"{}", CONTENTS, 60)
    yield made
    await made.wire.close()


async def test_each_file_is_given_once(seed: Door) -> None:
    """In the order in which cloud-init asks."""
    for name in ("network-config", "meta-data", "user-data", "vendor-data"):
        first = await seed.wire.ask(f"{NOCLOUD}{TOKEN}/{name}")
        assert (first.status, first.body) == (200, CONTENTS[name])
        assert first.headers["cache-control"] == "no-store"
        assert (await seed.wire.ask(f"{NOCLOUD}{TOKEN}/{name}")).status == 404


@pytest.mark.parametrize("last", ["user-data", "vendor-data"])
async def test_with_the_last_secret_file_all_are_gone(seed: Door, last: str) -> None:
    """The parameters for the host, too."""
    other = ({"user-data", "vendor-data"} - {last}).pop()
    for name in (other, last):
        assert (await seed.wire.ask(f"{NOCLOUD}{TOKEN}/{name}")).status == 200
    for name in FILES:
        assert (await seed.wire.ask(f"{NOCLOUD}{TOKEN}/{name}")).status == 404
    assert repr(seed.vault) == "<MemorySecretStore with 0 secrets>"


async def test_the_hosts_reading_leaves_the_machine_its_files(seed: Door) -> None:
    """The installer reads the parameters first: they tell it where the files are."""
    assert (await seed.wire.ask(URL + params_name(TOKEN))).status == 200
    assert (await seed.wire.ask(URL + params_name(TOKEN))).status == 404
    assert (await seed.wire.ask(f"{NOCLOUD}{TOKEN}/user-data")).status == 200


async def test_who_knows_the_hosts_url_does_not_know_the_machines(seed: Door) -> None:
    """The cluster's files hold the first for ever."""
    for text in (params_name(TOKEN), params_name(params_name(TOKEN))):
        assert (await seed.wire.ask(f"{NOCLOUD}{text}/vendor-data")).status == 404
    assert (await seed.wire.ask(URL + TOKEN)).status == 404
    assert (await seed.wire.ask(f"{NOCLOUD}{TOKEN}/vendor-data")).status == 200


async def test_files_expire(seed: Door) -> None:
    """Read or not."""
    assert (await seed.wire.ask(f"{NOCLOUD}{TOKEN}/user-data")).status == 200
    seed.clock.advance(61)
    assert (await seed.wire.ask(f"{NOCLOUD}{TOKEN}/vendor-data")).status == 404


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "GETS"])
async def test_only_a_get_spends_a_file(seed: Door, method: str) -> None:
    """Or a proxy that looks first would leave the machine without it."""
    path = f"{NOCLOUD}{TOKEN}/vendor-data"
    assert (await seed.wire.ask(path, method=method)).status in (404, 405, 501)
    assert (await seed.wire.ask(path)).status == 200


@pytest.mark.parametrize(
    "text",
    [
        *("x/user-data", "%00/user-data", TOKEN + "%00/user-data", "k" * 129 + "/user-data"),
        *(
            TOKEN,
            TOKEN + "/",
            TOKEN + "//user-data",
            TOKEN + "/user-data/x",
        ),
        *(
            TOKEN + "/USER-DATA",
            TOKEN + "/user-data%00",
            TOKEN + "/../user-data",
            "%C3%BC/user-data",
        ),
        *(TOKEN + "/passwords", TOKEN + "/%20", TOKEN.upper() + "/user-data", "/user-data"),
        "k" * 7000 + "/user-data",
    ],
)
async def test_anything_else_is_404_and_spends_nothing(seed: Door, text: str) -> None:
    """All alike."""
    answer = await seed.wire.ask(NOCLOUD + text)
    assert answer.status == 404
    assert set(answer.json) == {"itemNotFound"}
    assert repr(seed.vault) == "<MemorySecretStore with 5 secrets>"


async def test_of_many_who_ask_at_once_one_gets_a_file(seed: Door) -> None:
    """And one of each file."""
    asked = [
        Deferred.fromCoroutine(seed.wire.ask(f"{NOCLOUD}{TOKEN}/{name}"))
        for _ in range(20)
        for name in FILES
    ]
    answers = await gatherResults(asked)
    got = sorted(answer.body for answer in answers if answer.status == 200)
    # The two that are no secret may have gone with the last of the others.
    assert len(got) == len(set(got))
    assert set(got) >= {CONTENTS["user-data"], CONTENTS["vendor-data"]}
    assert {answer.status for answer in answers} == {200, 404}


async def test_a_file_that_was_taken_is_given_though_the_store_falls_silent(
    seed: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or it would be nobody's."""

    async def away(*_: Any) -> Any:
        raise Unavailable("The store does not answer.")

    monkeypatch.setattr(seed.vault, "there", away)
    assert (await seed.wire.ask(f"{NOCLOUD}{TOKEN}/user-data")).status == 200
    monkeypatch.setattr(seed.vault, "take", away)
    answer = await seed.wire.ask(f"{NOCLOUD}{TOKEN}/vendor-data")
    assert (answer.status, TOKEN in str(answer.body)) == (503, False)


async def test_no_token_of_a_file_comes_into_the_log(seed: Door) -> None:
    """Whatever the answer is."""
    from twisted.logger import globalLogPublisher

    events: list[Any] = []
    globalLogPublisher.addObserver(events.append)
    try:
        for text in ("/user-data", "/user-data", "/nothing", "/user-data/x", ""):
            await seed.wire.ask(f"{NOCLOUD}{TOKEN}{text}")
        await seed.wire.ask(f"{NOCLOUD}{TOKEN}/vendor-data", method="POST")
    finally:
        globalLogPublisher.removeObserver(events.append)
    assert events
    assert not [event for event in events if TOKEN in str(event)]
