"""The screen of a machine that runs under KVM on a real cluster, in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cyclades_tx.store.embedded import EmbeddedPostgres
from tests.real.chromium import Browser
from tests.real.ganeti import GANETIS
from tests.real.pictures import Picture
from tests.real.ports import free_port
from tests.real.viewers import capture
from tests.scenario.cloud import OpenStack
from tests.scenario.real_ground import Ground, ground
from tests.scenario.real_servers import Machine, wait

pytestmark = pytest.mark.real

STATE = "document.body?.dataset.state"
TITLE = "document.getElementById('card-title')?.textContent"
#: What a BIOS writes in, on black.
LETTERS, BLACK = (170, 170, 170), (0, 0, 0)


@pytest.fixture
def running(
    postgres: EmbeddedPostgres,
    administer: Callable[[str], None],
    template: str,
    tmp_path: Path,
) -> Iterator[Ground]:
    """A cluster with KVM, whose machines have nothing to boot from."""
    assert GANETIS.kvm().hypervisor == "kvm"
    more = f"[console]\nviewer_port = {free_port()}\n"
    with ground(
        "real_console", postgres, administer, template, tmp_path, kvm=True, more=more
    ) as made:
        yield made


def is_bios(taken: Picture) -> bool:
    """Whether it is a black screen with letters on it."""
    return taken.count(BLACK, 4) > 100_000 and taken.count(LETTERS, 40) > 400


def through_a_viewer(machine: Machine, path: Path) -> Picture:
    """What a real viewer sees of a machine, over the port for viewers."""
    said = machine.client.send("POST", f"{machine.path}/action", {"console": {"type": "vnc"}})
    found = said[2]["console"]
    return capture(found["host"], found["port"], found["password"], path)


def test_real_machine_is_seen_in_a_browser_and_again_after_a_reboot(
    running: Ground, tmp_path: Path
) -> None:
    """As the real client opens it; the page finds the screen again by itself."""
    machine = running.make("screen")
    openstack = OpenStack(running.cloud.folder)
    url = openstack.json("console", "url", "show", "--novnc", machine.uuid)["url"]
    folder = tmp_path / "profile"
    folder.mkdir()
    browser = Browser(folder)
    try:
        browser.open(url)
        browser.until(f"{STATE} === 'open'", "the console is open")
        assert browser.run("document.getElementById('name').textContent") == machine.instance
        wait(
            running.cloud,
            lambda: is_bios(browser.screenshot(tmp_path / "bios.png")),
            "the machine's screen is on the page",
        )
        assert is_bios(through_a_viewer(machine, tmp_path / "viewer.png"))
        openstack("server", "reboot", "--hard", "--wait", machine.uuid)
        browser.until(f"{STATE} === 'open'", "the page has the screen back")
        wait(
            running.cloud,
            lambda: is_bios(browser.screenshot(tmp_path / "rebooted.png")),
            "the machine's screen is on the page again",
        )
        assert is_bios(through_a_viewer(machine, tmp_path / "viewer-again.png"))
        opened = running.cloud.books.rows("select kind from event where kind = 'console.opened'")
        assert len(opened) >= 2
        admin = running.cloud.client(name="admin")
        admin.send("POST", f"{machine.path}/action", {"suspend": None})
        browser.until(f"{TITLE} === 'The machine was suspended'", "the page says why it ended")
    finally:
        browser.close()
