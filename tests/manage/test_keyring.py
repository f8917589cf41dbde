"""The key file: made once, rotated without losing a secret."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cyclades_tx.flows.clusters import NewCluster
from cyclades_tx.ganeti.clusters import PASSWORD_KIND
from cyclades_tx.ganeti.credentials import Keyring
from cyclades_tx.manage.backends import fleet

Manage = Callable[..., Any]


async def test_the_first_key_file_is_made_as_configured(manage: Manage, tmp_path: Path) -> None:
    """A configuration whose key file is missing yet is enough to make it."""
    config = tmp_path / "fresh.toml"
    config.write_text('[ganeti]\nkeyring_file = "fresh.keys"\n')
    said = await manage("keyring-create", config=config)
    assert said.code == 0, said.err
    made = tmp_path / "fresh.keys"
    assert made.stat().st_mode & 0o777 == 0o600
    assert made.read_text().strip() not in said.out + said.err
    Keyring.load(made)


async def test_a_key_file_that_is_there_is_never_touched(manage: Manage, config_path: Path) -> None:
    """Losing the keys is losing the credentials: a second create is refused."""
    file = config_path.parent / "keyring"
    before = file.read_bytes()
    assert (await manage("keyring-create")).code == 1
    assert (await manage("keyring-create", str(file))).code == 1
    assert file.read_bytes() == before


async def test_rotation_seals_every_secret_anew(
    manage: Manage, world: Any, config_path: Path
) -> None:
    """With no service running one command does it all, and the old key can go."""
    row = await fleet(world).add(NewCluster("c1", "u", "rapi-secret"), check=False)
    file = config_path.parent / "keyring"
    old = file.read_text()
    said = await manage("keyring-rotate")
    assert said.code == 0, said.err
    assert "rapi_password" in said.out
    keys = file.read_text().split()
    assert len(keys) == 2
    assert keys[1] == old.strip()
    assert file.stat().st_mode & 0o777 == 0o600
    assert not any(key in said.out + said.err for key in keys)
    assert (await manage("keyring-rotate", "--drop-old")).code == 0
    assert file.read_text().split() == keys[:1]
    sealed = await world.database.value("select rapi_password from cluster")
    opened = Keyring.load(file).decrypt(PASSWORD_KIND, str(row.uuid), sealed)
    assert opened == "rapi-secret"


async def test_while_a_service_runs_only_the_key_is_added(
    manage: Manage, world: Any, config_path: Path, open_database: Any
) -> None:
    """A service cannot open what is sealed by a key that it has not read."""
    await fleet(world).add(NewCluster("c1", "u", "rapi-secret"), check=False)
    before = await world.database.value("select rapi_password from cluster")
    service = open_database(least=1, most=1)
    await service.value("select 1")
    said = await manage("keyring-rotate")
    assert said.code == 0, said.err
    assert "restart" in said.out
    assert await world.database.value("select rapi_password from cluster") == before
    refused = await manage("keyring-rotate", "--drop-old")
    assert refused.code == 1
    assert len((config_path.parent / "keyring").read_text().split()) == 2
    assert (await manage("keyring-rotate", "--reseal")).code == 0
    assert await world.database.value("select rapi_password from cluster") != before


async def test_a_secret_that_cannot_be_opened_is_told(manage: Manage, world: Any) -> None:
    """One broken seal is reported; the others are sealed anew all the same."""
    for name in ("c1", "c2"):
        await fleet(world).add(NewCluster(name, "u", "p"), check=False)
    await world.database.run(
        "update cluster set rapi_password = decode('0102030405060708', 'hex') where name = 'c1'"
    )
    said = await manage("keyring-rotate")
    assert said.code == 1
    assert "rapi_password" in said.err
    good = await world.database.value("select rapi_password from cluster where name = 'c2'")
    assert world.keyring.needs_rotation(good)


async def test_two_rotations_at_once_are_one(manage: Manage, config_path: Path) -> None:
    """The second finds the first one's file and leaves the keys alone."""
    file = config_path.parent / "keyring"
    before = file.read_bytes()
    (config_path.parent / "keyring.new").touch()
    said = await manage("keyring-rotate")
    assert said.code == 1
    assert "keyring.new" in said.err
    assert file.read_bytes() == before
