"""The screen of a machine in a real browser, as the URL of the real client opens it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cyclades_tx.ganeti.simulator.picture import COLORS, FIRST_BAR, LAST_BAR
from tests.real.chromium import Browser
from tests.real.pictures import Picture
from tests.real.ports import free_port
from tests.real.viewers import NotLetIn, capture
from tests.scenario.cloud import OpenStack, until
from tests.scenario.conftest import Cloud

pytestmark = pytest.mark.real

STATE = "document.body?.dataset.state"
TITLE = "document.getElementById('card-title')?.textContent"


@pytest.fixture
def cloud(make_cloud: Callable[..., Cloud]) -> Cloud:
    """A cloud whose simulated machines have screens, with one that runs."""
    more = f"[console]\nviewer_port = {free_port()}\n"
    made = make_cloud(job_seconds=0.2, screens=True, more=more)
    made.service.start()
    until(lambda: not made.books.open_operations(), "the networks are made")
    return made


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    """A browser of its own."""
    folder = tmp_path / "profile"
    folder.mkdir()
    made = Browser(folder)
    yield made
    made.close()


def is_seen(taken: Picture) -> bool:
    """Whether the picture of a simulated machine is there."""
    return all(taken.count(COLORS[color]) > 2000 for color in range(FIRST_BAR, LAST_BAR + 1))


def test_url_of_the_client_shows_the_screen_in_a_browser(
    cloud: Cloud, browser: Browser, tmp_path: Path
) -> None:
    """Once; a key goes to the machine; the page comes back by itself, and ends when it must."""
    openstack = OpenStack(cloud.folder)
    openstack(
        *("server", "create", "--flavor", "tiny", "--image", "debian-12"),
        *("--network", "shared", "--wait", "web"),
    )
    shown = openstack.json("console", "url", "show", "--novnc", "web")
    assert (shown["protocol"], shown["type"]) == ("vnc", "novnc")
    parts = urlsplit(shown["url"])
    assert shown["url"].startswith(f"{cloud.service.url}/console/#") and not parts.query

    browser.open(shown["url"])
    browser.until(f"{STATE} === 'open'", "the console is open")
    picture = tmp_path / "open.png"
    until(lambda: is_seen(browser.screenshot(picture)), "the machine's picture is on the page")
    assert browser.run("location.hash + location.search") == ""
    assert browser.run("document.title").endswith("Console")

    # It is typed there, and seen here.
    before = browser.screenshot()
    for character in "ls":
        for kind in ("keyDown", "keyUp"):
            browser.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=character,
                text=character,
                code=f"Key{character.upper()}",
            )
    white = COLORS[1]
    until(
        lambda: browser.screenshot(tmp_path / "typed.png").count(white) > before.count(white),
        "what was typed is seen",
    )

    # The ticket is spent; it was in no address but that of the page, and is in no log.
    secret = parts.fragment
    assert [url for url in browser.asked if secret in url.partition("#")[0]] == []
    assert secret not in cloud.service.log.read_text()
    other = openstack.json("console", "url", "show", "--novnc", "web")["url"]
    browser.run("sessionStorage.clear()")
    browser.open("about:blank")
    browser.open(shown["url"])
    browser.until(f"{TITLE} === 'This ticket was used already'", "the used ticket is refused")
    browser.screenshot(tmp_path / "refused.png")

    # Loaded again, the page has its console back; so has it after a reboot.
    browser.open("about:blank")
    browser.open(other)
    browser.until(f"{STATE} === 'open'", "the second console is open")
    browser.call("Page.reload")
    browser.until(f"{STATE} === 'open' && performance.now() < 1e6", "it is open again")
    openstack("server", "stop", "web")
    browser.until(f"{STATE} === 'again'", "the page waits for the machine")
    browser.screenshot(tmp_path / "again.png")
    until(lambda: not cloud.books.open_operations(), "it has stopped")
    openstack("server", "start", "web")
    browser.until(f"{STATE} === 'open'", "the page has the screen back")
    until(lambda: is_seen(browser.screenshot(picture)), "the picture is there again")

    openstack("server", "delete", "--wait", "web")
    browser.until(f"{TITLE} === 'The machine was deleted'", "the page says why it ended")
    browser.screenshot(tmp_path / "deleted.png")
    kinds = cloud.books.rows("select kind from event where kind like 'console.%%' order by id")
    assert {row.kind for row in kinds} == {"console.opened", "console.ended"}
    ignored = ("favicon", "WebSocket", "secure context")
    assert [each for each in browser.complaints if not any(x in each for x in ignored)] == []


def test_viewer_sees_it_with_its_password_once(cloud: Cloud, tmp_path: Path) -> None:
    """A real one, over the port for viewers; nobody else's password opens it."""
    openstack = OpenStack(cloud.folder)
    openstack(
        *("server", "create", "--flavor", "tiny", "--image", "debian-12"),
        *("--network", "shared", "--wait", "web"),
    )
    uuid = openstack.json("server", "show", "web")["id"]
    path = f"/compute/v2.1/servers/{uuid}/action"
    found = cloud.client().send("POST", path, {"console": {"type": "vnc"}})[2]["console"]
    assert found["host"] == "127.0.0.1" and len(found["password"]) == 8
    place = (found["host"], found["port"])
    with pytest.raises(NotLetIn):
        capture(*place, "wrong", tmp_path / "wrong.png")
    assert is_seen(capture(*place, found["password"], tmp_path / "viewer.png"))
    with pytest.raises(NotLetIn):
        capture(*place, found["password"], tmp_path / "again.png")
    assert found["password"] not in cloud.service.log.read_text()
