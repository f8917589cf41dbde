"""The world of a process: chosen by its configuration, in one place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from cyclades_tx.config import Config
from cyclades_tx.errors import ConfigError
from cyclades_tx.ganeti.credentials import Keyring
from cyclades_tx.image_store.swift import SwiftImageStore
from cyclades_tx.model import quota
from cyclades_tx.store import quotas
from cyclades_tx.vault import MemcachedSecretStore, MemorySecretStore
from cyclades_tx.world import World


@pytest_twisted.async_yield_fixture
async def make_world(tmp_path: Path) -> Any:
    """Return a function that makes a world of lines of configuration; closed after the test."""
    from twisted.internet import reactor

    Keyring.create(tmp_path / "keyring")
    made: list[World] = []

    def make(lines: str = "", dsn: str = "host=127.0.0.1", keyring: bool = True) -> World:
        (tmp_path / "dsn").touch(0o600)
        (tmp_path / "dsn").write_text(dsn)
        named = 'keyring_file = "keyring"' if keyring else ""
        text = f'[database]\ndsn_file = "dsn"\n[ganeti]\n{named}\n{lines}'
        (tmp_path / "config.toml").write_text(text)
        made.append(World.real(reactor, Config.load(tmp_path / "config.toml"), tool=True))
        return made[-1]

    yield make
    for world in made:
        await world.close()


def test_without_a_keyring_there_is_no_world(make_world: Callable[..., World]) -> None:
    """The sentence names the key and the command that makes the file."""
    with pytest.raises(ConfigError, match=r"ganeti\.keyring_file.*keyring-create"):
        make_world(keyring=False)


def test_every_process_has_a_name_of_its_own(make_world: Callable[..., World]) -> None:
    """Leases and sessions are told apart by it, also in one process."""
    assert make_world().driver != make_world().driver


def test_no_secret_is_shown(make_world: Callable[..., World]) -> None:
    """A world may end up in a log."""
    world = make_world(dsn="host=127.0.0.1 user=x password=hunter2")
    assert world.dsn.endswith("hunter2")
    assert "hunter2" not in repr(world)


def test_the_secret_store_is_the_one_that_is_configured(make_world: Callable[..., World]) -> None:
    """In memory unless several processes share the work."""
    assert isinstance(make_world().vault, MemorySecretStore)
    more = '[vmapi]\nstore = "memcached"\nmemcached_servers = ["127.0.0.1:1"]\n'
    assert isinstance(make_world(more).vault, MemcachedSecretStore)


async def test_a_new_project_has_its_limits_and_its_default_group(
    make_world: Callable[..., World], dsn: str
) -> None:
    """In the transaction that makes it."""
    world = make_world("[quota]\nvm = 3\nram_mib = 5\n", dsn)
    world.database.start()
    project_id = await world.people.create_project("home")
    found = await world.database.transaction(lambda tx: quotas.lock(tx, project_id))
    assert found[quota.VM].maximum == 3
    assert found[quota.RAM].maximum == 5 * quota.MIB
    assert set(found) == set(quota.RESOURCES)
    groups = await world.database.all("select name from security_group")
    assert [row.name for row in groups] == ["default"]


def test_images_can_lie_in_an_object_storage(
    make_world: Callable[..., World], tmp_path: Path
) -> None:
    """Nothing is asked of it yet; its secret is shown nowhere."""
    (tmp_path / "secret").touch(0o600)
    (tmp_path / "secret").write_text("hunter2")
    text = (
        '[image]\nstore = "swift"\n[swift]\nauth_url = "https://keystone.test/v3"\n'
        'application_credential_id = "f00"\nsecret_file = "secret"\n{}'
    )
    world = make_world(text.format("segment_mib = 300"))
    store = world.image_data.store
    assert isinstance(store, SwiftImageStore)
    assert store.segment_bytes == 300 * 2**20
    assert "hunter2" not in repr(world)
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(ConfigError, match=r"swift\.authorities_file"):
        make_world(text.format('authorities_file = "ca.pem"'))
