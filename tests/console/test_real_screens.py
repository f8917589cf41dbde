"""The proxy before real screens: QEMU's, and the X server of TigerVNC."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cyclades_tx.console.interfaces import SENTENCES, Reason
from tests.console.peers import VERSIONS, Refusal, log_in, look
from tests.console.proxied import SECRET, Proxy
from tests.real.screens import RealScreen

pytestmark = pytest.mark.real

FAR_PASSWORD = "far-away"
KINDS = [(kind, password) for kind in ("qemu", "xvnc") for password in ("", FAR_PASSWORD)]


@pytest.fixture(
    scope="module", params=KINDS, ids=[f"{kind}{'-password' * bool(pw)}" for kind, pw in KINDS]
)
def real_screen(request: pytest.FixtureRequest) -> Iterator[tuple[RealScreen, str]]:
    """A screen, and its password."""
    kind, password = request.param
    screen = RealScreen(kind, password)
    yield screen, password
    screen.stop()


async def test_viewers_of_every_version_see_it(
    proxy: Proxy, real_screen: tuple[RealScreen, str]
) -> None:
    """Each the whole picture."""
    screen, password = real_screen
    port = proxy.open_port()
    for version in VERSIONS:
        proxy.ticket(screen.port, f"version{version}", password=password or None)
        wire = await proxy.dial(port)
        width, height, _ = await log_in(wire, version, f"version{version}".encode())
        assert width >= 64 and height >= 48
        assert len(await look(wire, width, height)) == width * height * 4
    assert len(proxy.consoles) == len(VERSIONS)


async def test_a_screen_whose_password_is_not_known(
    proxy: Proxy, real_screen: tuple[RealScreen, str]
) -> None:
    """With none, or with another one, the viewer learns that the screen did not let it in."""
    screen, password = real_screen
    if not password:
        return
    port = proxy.open_port()
    for far in (None, "wrong"):
        secret = f"{SECRET[:6]}{len(far or '')}"
        proxy.ticket(screen.port, secret, password=far)
        with pytest.raises(Refusal, match=SENTENCES[Reason.FAR_REFUSED]):
            await log_in(await proxy.dial(port), 8, secret.encode())
