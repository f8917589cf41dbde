"""Proxies that are closed after each test."""

from __future__ import annotations

from typing import Any

import pytest_twisted

from tests.console.proxied import Proxy


@pytest_twisted.async_yield_fixture
async def make_proxy() -> Any:
    """Make proxies with chosen limits."""
    made: list[Proxy] = []

    def make(**limits: Any) -> Proxy:
        made.append(Proxy(**limits))
        return made[-1]

    yield make
    for proxy in made:
        await proxy.close()


@pytest_twisted.async_yield_fixture
async def proxy() -> Any:
    """A proxy with the usual limits."""
    made = Proxy()
    yield made
    await made.close()
